//! Who asks, and what they may: API tokens of apps, and users with passwords.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::answer::Refusal;
use crate::http::Request;

pub(crate) const VIEW: u8 = 1;
pub(crate) const ADD: u8 = 2;
pub(crate) const EDIT: u8 = 4;
pub(crate) const DELETE: u8 = 8;

/// Most tokens of one request.
const MOST_TOKENS: usize = 9;

/// Tokens and users that there are.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// App and rights of each token.
    pub(crate) tokens: HashMap<String, (u64, u8)>,
    /// Password and rights by app of each user.
    pub(crate) users: HashMap<String, (String, HashMap<u64, u8>)>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Code of the user; with a token it is the administrator.
    pub(crate) who: String,
    rights: HashMap<u64, u8>,
    by_token: bool,
}

impl Keys {
    /// A password counts before a token.
    pub(crate) fn caller(&self, request: &Request) -> Result<Caller, Refusal> {
        let (password, tokens) = (request.header("x-cybozu-authorization"), request.header("x-cybozu-api-token"));
        if !password.is_empty() {
            return self.user(password);
        }
        if tokens.is_empty() {
            return Err(Refusal::new(401, "CB_AU01", "ログインしてください。"));
        }
        let tokens: Vec<&str> = tokens.split(',').map(str::trim).collect();
        if tokens.len() > MOST_TOKENS {
            return Err(Refusal::wrong("apiToken", "APIトークンは9個まで指定できます。"));
        }
        let mut rights = HashMap::new();
        for token in tokens {
            let message = "指定したAPIトークンは、アプリで生成されたトークンと異なります。";
            let (app, may) = self.tokens.get(token).ok_or_else(|| Refusal::new(400, "GAIA_IA02", message))?;
            if rights.insert(*app, *may).is_some() {
                let message = "同じアプリのAPIトークンを重複して指定することはできません。";
                return Err(Refusal::new(400, "GAIA_DA03", message));
            }
        }
        Ok(Caller { who: "Administrator".into(), rights, by_token: true })
    }

    fn user(&self, given: &str) -> Result<Caller, Refusal> {
        let plain = STANDARD.decode(given).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let known = plain.as_deref().and_then(|plain| plain.split_once(':')).and_then(|(code, password)| {
            self.users.get(code).filter(|(right, _)| right == password).map(|(_, rights)| (code, rights))
        });
        let message =
            "ユーザーのパスワード認証に失敗しました。「X-Cybozu-Authorization」ヘッダーの値が正しくありません。";
        let (code, rights) = known.ok_or_else(|| Refusal::new(401, "CB_WA01", message))?;
        Ok(Caller { who: code.into(), rights: rights.clone(), by_token: false })
    }
}

impl Caller {
    /// Refused unless the caller has all these rights on the app.
    pub(crate) fn must(&self, app: u64, rights: u8) -> Result<(), Refusal> {
        self.must_any(app, &[rights])
    }

    /// Refused unless the caller has one of these sets of rights on the app.
    pub(crate) fn must_any(&self, app: u64, sets: &[u8]) -> Result<(), Refusal> {
        let may = self.rights.get(&app).copied();
        if may.is_some_and(|may| sets.iter().any(|set| may & set == *set)) {
            return Ok(());
        }
        Err(match (self.by_token, may) {
            (false, _) => Refusal::new(403, "CB_NO02", "権限がありません。"),
            (true, Some(_)) => Refusal::new(403, "GAIA_NO01", "このAPIトークンでは、指定したAPIを実行できません。"),
            (true, None) => {
                let message = format!("APIトークンとアプリ（id: {app}）の組み合わせが正しくありません。");
                Refusal::new(403, "GAIA_AP15", message)
            }
        })
    }

    /// The apps whose records the caller may read.
    pub(crate) fn reads(&self) -> Vec<u64> {
        self.rights.iter().filter(|(_, may)| **may & VIEW > 0).map(|(app, _)| *app).collect()
    }
}
