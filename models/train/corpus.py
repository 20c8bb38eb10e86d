"""Sentence patterns and slot fillers of a municipal call centre; `utterance(rng)` returns (written form, reading).

Place names are split three ways by a fixed shuffle: KNOWN are taught with their official spelling, KANA only in
katakana, HELD never appear in training (pass `places=HELD` to make evaluation sentences from them). `randkana` makes
words that do not exist, so that the model learns to spell what it does not know.

`wide(rng)` is for the second phase (refine.py): far more words that do not exist, made of the pieces of names and terms, in every
slot, and more kinds of sentences. No reading of samples/dictionary.csv is ever made up, because evaluation counts those.
"""

import csv, os, random

WARDS = "北区:キタク 都島区:ミヤコジマク 福島区:フクシマク 此花区:コノハナク 中央区:チュウオウク 西区:ニシク 港区:ミナトク 大正区:タイショウク 天王寺区:テンノウジク 浪速区:ナニワク 西淀川区:ニシヨドガワク 淀川区:ヨドガワク 東淀川区:ヒガシヨドガワク 東成区:ヒガシナリク 生野区:イクノク 旭区:アサヒク 城東区:ジョウトウク 鶴見区:ツルミク 阿倍野区:アベノク 住之江区:スミノエク 住吉区:スミヨシク 東住吉区:ヒガシスミヨシク 平野区:ヒラノク 西成区:ニシナリク".split()
PLACES = "放出:ハナテン 喜連瓜破:キレウリワリ 杭全:クマタ 十三:ジュウソウ 野江内代:ノエウチンダイ 関目:セキメ 天下茶屋:テンガチャヤ 我孫子:アビコ 住道矢田:スンジヤタ 柴島:クニジマ 立売堀:イタチボリ 遠里小野:オリオノ 新喜多:シギタ 鴫野:シギノ 蒲生:ガモウ 毛馬:ケマ 御幣島:ミテジマ 海老江:エビエ 粉浜:コハマ 帝塚山:テヅカヤマ 桃谷:モモダニ 鶴橋:ツルハシ 玉造:タマツクリ 上本町:ウエホンマチ 谷町:タニマチ 日本橋:ニッポンバシ 心斎橋:シンサイバシ 堀江:ホリエ 靱本町:ウツボホンマチ 京町堀:キョウマチボリ 土佐堀:トサボリ 中之島:ナカノシマ 淀屋橋:ヨドヤバシ 北浜:キタハマ 天満:テンマ 南森町:ミナミモリマチ 中崎町:ナカザキチョウ 野田:ノダ 西九条:ニシクジョウ 弁天町:ベンテンチョウ 朝潮橋:アサシオバシ 天保山:テンポウザン 泉尾:イズオ 千島:チシマ 鶴町:ツルマチ 津守:ツモリ 岸里:キシノサト 玉出:タマデ 加賀屋:カガヤ 平林:ヒラバヤシ 南港:ナンコウ 長居:ナガイ 西田辺:ニシタナベ 昭和町:ショウワチョウ 美章園:ビショウエン 針中野:ハリナカノ 矢田:ヤタ 瓜破:ウリワリ 長原:ナガハラ 出戸:デト 加美:カミ 巽:タツミ 林寺:ハヤシジ 田島:タシマ 勝山:カツヤマ 今里:イマザト 深江橋:フカエバシ 緑橋:ミドリバシ 森ノ宮:モリノミヤ 横堤:ヨコヅツミ 諸口:モロクチ 茨田:マッタ 赤川:アカガワ 友渕:トモブチ 千林:センバヤシ 太子橋:タイシバシ 豊里:トヨサト 瑞光:ズイコウ 井高野:イタカノ 上新庄:カミシンジョウ 淡路:アワジ 崇禅寺:ソウゼンジ 三国:ミクニ 新大阪:シンオオサカ 宮原:ミヤハラ 木川:キカワ 塚本:ツカモト 加島:カシマ 三津屋:ミツヤ 神崎川:カンザキガワ 姫島:ヒメジマ 出来島:デキジマ 大和田:オオワダ 佃:ツクダ 歌島:ウタジマ 野里:ノザト 梅田:ウメダ 難波:ナンバ 本町:ホンマチ 京橋:キョウバシ 阿波座:アワザ 九条:クジョウ 大国町:ダイコクチョウ 恵美須町:エビスチョウ 動物園前:ドウブツエンマエ 花園町:ハナゾノチョウ 北加賀屋:キタカガヤ 住之江公園:スミノエコウエン 田辺:タナベ 駒川中野:コマガワナカノ 平野:ヒラノ 今福鶴見:イマフクツルミ 門真南:カドマミナミ 天神橋:テンジンバシ 扇町:オウギマチ 長柄:ナガラ 大淀:オオヨド 福島:フクシマ 桜島:サクラジマ 舞洲:マイシマ 夢洲:ユメシマ 咲洲:サキシマ".split()
FAC = "中央図書館:チュウオウトショカン 区民センター:クミンセンター 保健福祉センター:ホケンフクシセンター 環境事業センター:カンキョウジギョウセンター 市税事務所:シゼイジムショ 水道センター:スイドウセンター 子育てプラザ:コソダテプラザ 老人福祉センター:ロウジンフクシセンター サービスカウンター:サービスカウンター 年金事務所:ネンキンジムショ 消費者センター:ショウヒシャセンター こころの健康センター:ココロノケンコウセンター 動物管理センター:ドウブツカンリセンター 斎場:サイジョウ 区役所:クヤクショ 市役所:シヤクショ 図書館:トショカン 体育館:タイイクカン 保育所:ホイクショ 幼稚園:ヨウチエン 小学校:ショウガッコウ 中学校:チュウガッコウ 公園事務所:コウエンジムショ 休日急病診療所:キュウジツキュウビョウシンリョウショ".split()
PROC = "住民票の写し:ジュウミンヒョウノウツシ 戸籍謄本:コセキトウホン 印鑑登録:インカントウロク 印鑑登録証明書:インカントウロクショウメイショ 転入届:テンニュウトドケ 転出届:テンシュツトドケ 転居届:テンキョトドケ 婚姻届:コンイントドケ 出生届:シュッショウトドケ 死亡届:シボウトドケ マイナンバーカード:マイナンバーカード 国民健康保険:コクミンケンコウホケン 後期高齢者医療:コウキコウレイシャイリョウ 介護保険:カイゴホケン 国民年金:コクミンネンキン 児童手当:ジドウテアテ 児童扶養手当:ジドウフヨウテアテ こども医療費助成:コドモイリョウヒジョセイ 保育所の入所申込:ホイクショノニュウショモウシコミ 粗大ごみの収集:ソダイゴミノシュウシュウ 資源ごみの収集:シゲンゴミノシュウシュウ 市民税:シミンゼイ 固定資産税:コテイシサンゼイ 軽自動車税:ケイジドウシャゼイ 納税証明書:ノウゼイショウメイショ 課税証明書:カゼイショウメイショ 水道の使用開始:スイドウノシヨウカイシ 水道の使用中止:スイドウノシヨウチュウシ 犬の登録:イヌノトウロク 予防接種:ヨボウセッシュ がん検診:ガンケンシン 特定健診:トクテイケンシン 妊婦健診:ニンプケンシン 母子健康手帳:ボシケンコウテチョウ 生活保護:セイカツホゴ 障がい者手帳:ショウガイシャテチョウ 敬老優待乗車証:ケイロウユウタイジョウシャショウ 市営住宅:シエイジュウタク 自転車の保管:ジテンシャノホカン 防犯灯:ボウハントウ 罹災証明書:リサイショウメイショ 要介護認定:ヨウカイゴニンテイ 高額療養費:コウガクリョウヨウヒ 就学援助:シュウガクエンジョ 塾代助成:ジュクダイジョセイ 地域活動協議会:チイキカツドウキョウギカイ 空き家の相談:アキヤノソウダン 道路の補修:ドウロノホシュウ 公園の使用許可:コウエンノシヨウキョカ 戸籍の附票:コセキノフヒョウ".split()
DEPT = "住民情報課:ジュウミンジョウホウカ 保険年金課:ホケンネンキンカ 保健福祉課:ホケンフクシカ 市民協働課:シミンキョウドウカ 生活支援課:セイカツシエンカ 総務課:ソウムカ 子育て支援課:コソダテシエンカ 収納課:シュウノウカ 環境局:カンキョウキョク 水道局:スイドウキョク 建設局:ケンセツキョク 福祉局:フクシキョク 健康局:ケンコウキョク デジタル統括室:デジタルトウカツシツ 教育委員会:キョウイクイインカイ 危機管理室:キキカンリシツ 都市整備局:トシセイビキョク 港湾局:コウワンキョク 消防局:ショウボウキョク 財政局:ザイセイキョク".split()
SUR = "田中:タナカ 山本:ヤマモト 佐藤:サトウ 鈴木:スズキ 高橋:タカハシ 伊藤:イトウ 渡辺:ワタナベ 中村:ナカムラ 小林:コバヤシ 加藤:カトウ 吉田:ヨシダ 山田:ヤマダ 井上:イノウエ 木村:キムラ 林:ハヤシ 清水:シミズ 山口:ヤマグチ 松本:マツモト 森:モリ 池田:イケダ 橋本:ハシモト 石川:イシカワ 前田:マエダ 藤田:フジタ 岡田:オカダ 長谷川:ハセガワ 村上:ムラカミ 近藤:コンドウ 石井:イシイ 西村:ニシムラ 福田:フクダ 太田:オオタ 三浦:ミウラ 岡本:オカモト 松田:マツダ 中川:ナカガワ 中野:ナカノ 原田:ハラダ 小野:オノ 竹内:タケウチ".split()
ITEM = "冷蔵庫:レイゾウコ 洗濯機:センタクキ テレビ:テレビ ソファー:ソファー ベッド:ベッド 机:ツクエ 本棚:ホンダナ 自転車:ジテンシャ 布団:フトン 扇風機:センプウキ 電子レンジ:デンシレンジ 掃除機:ソウジキ たんす:タンス カーペット:カーペット ストーブ:ストーブ".split()
REL = "母:ハハ 父:チチ 主人:シュジン 妻:ツマ 息子:ムスコ 娘:ムスメ 祖母:ソボ 祖父:ソフ 家族:カゾク 孫:マゴ".split()


def P(l):
    return [tuple(x.split(":")) for x in l]


WARDS, PLACES, FAC, PROC, DEPT, SUR, ITEM, REL = map(P, (WARDS, PLACES, FAC, PROC, DEPT, SUR, ITEM, REL))
# split places: known (kanji label), kana (katakana label), held-out (never in training)
_r = random.Random(7)
pl = PLACES[:]
_r.shuffle(pl)
HELD = pl[:30]
KANA = pl[30:62]
KNOWN = pl[62:]
# kana-only random words teach the model to spell words it does not know
MORA = "ア イ ウ エ オ カ キ ク ケ コ サ シ ス セ ソ タ チ ツ テ ト ナ ニ ヌ ネ ノ ハ ヒ フ ヘ ホ マ ミ ム メ モ ヤ ユ ヨ ラ リ ル レ ロ ワ ガ ギ グ ゲ ゴ ザ ジ ズ ゼ ゾ ダ デ ド バ ビ ブ ベ ボ パ ピ プ ペ ポ キャ キュ キョ シャ シュ ショ チャ チュ チョ ニャ ニュ ニョ ヒャ ヒュ ヒョ ミャ ミュ ミョ リャ リュ リョ ギャ ギュ ギョ ジャ ジュ ジョ ビャ ビュ ビョ".split()
FREQ = [8 if len(m) == 1 else 1 for m in MORA]


def randkana(r):
    n = r.choice([2, 3, 3, 4, 4, 5, 6])
    s = ""
    for i in range(n):
        m = r.choices(MORA, FREQ)[0]
        s += m
        q = r.random()
        if i > 0 or n > 2:
            if q < 0.08 and i < n - 1:
                s += "ン"
            elif q < 0.12 and m[-1] in "オコソトノホモヨロゴゾドボポョ":
                s += "ウ"
            elif q < 0.15 and i < n - 1:
                s += "ッ" if i < n - 1 else ""
    s = s.replace("ッア", "ア").replace("ッイ", "イ").replace("ッウ", "ウ").replace("ッエ", "エ").replace("ッオ", "オ")
    return (s, s)



# the pieces that names and terms are made of, by their sound: what is made of them is written in katakana, as heard
NATIVE = "アイ アオ アカ アキ アサ アシ アズマ アナ アマ アラ アワ イ イケ イシ イズミ イチ イト イナ イヌ イノ イマ イワ ウエ ウシ ウチ ウメ ウラ エ エノキ オ オオ オカ オキ オク オギ オノ カ カイ カキ カサ カシ カジ カタ カツ カド カナ カネ カミ カメ カモ カヤ カラ カリ カワ キ キシ キタ キヌ ク クサ クシ クズ クチ クニ クボ クマ クラ クリ クルマ クロ クワ コ コウ コシ コマ サ サカ サキ サギ サクラ サト サメ サワ シ シオ シカ シギ シタ シノ シバ シマ シミズ シモ シラ シロ スギ スズ スナ スミ スワ セ セキ セリ ソデ ソネ ソノ タ タカ タキ タケ タチ タツ タテ タナ タニ タマ ダ チ チカ ツ ツカ ツキ ツジ ツチ ツツミ ツバキ ツマ ツル テラ ト トキ トコ トナミ トビ トミ トモ トリ ドイ ナ ナエ ナカ ナガ ナギ ナタ ナベ ナミ ナラ ナリ ニ ニシ ニワ ヌマ ネ ノ ノボリ ハ ハギ ハシ ハス ハタ ハマ ハナ ハネ ハヤ ハラ ハリ ヒ ヒガシ ヒキ ヒサ ヒノ ヒメ ヒラ ヒロ フエ フカ フキ フク フジ フタ フナ フル ヘ ホ ホシ ホリ マ マエ マキ マサ マス マチ マツ マト マル ミ ミズ ミゾ ミチ ミツ ミドリ ミナト ミナミ ミネ ミノ ミヤ ム ムカイ ムギ ムラ ムロ メ モ モト モモ モリ ヤ ヤギ ヤス ヤツ ヤナギ ヤマ ユ ユキ ユミ ユリ ヨコ ヨシ ヨド ヨネ ワ ワキ ワタ ワニ".split()
ENDS = "ガワ ザワ ダニ ヤマ ザカ バシ ジマ ガオカ ガミ マチ チョウ ムラ デン ドオリ グチ ギシ バヤシ ゾノ ノモリ ノミヤ バタ ハマ ウラ ツ ナミ キタ ミナミ ヒガシ ニシ ナカ シンマチ ホンマチ".split()
CHINESE = "アン イ イン ウン エイ エキ エン オウ オン カ カイ カク カツ カン ガ ガイ ガク ガン キ キャク キュウ キョ キョウ キョク キン ギ ギョウ ギン ク クウ クツ クン グン ケイ ケツ ケン ゲ ゲキ ゲン コ コウ コク コン ゴ ゴウ ゴク サ サイ サク サツ サン ザ ザイ ザツ シ シキ シツ シャ シュ シュウ シュク シュツ シュン ショ ショウ ショク シン ジ ジツ ジャ ジュ ジュウ ジュン ジョ ジョウ ジン スイ スウ セイ セキ セツ セン ゼイ ゼツ ゼン ソ ソウ ソク ソツ ソン ゾウ ゾク タ タイ タク タツ タン ダイ ダン チ チク チャク チュウ チョ チョウ チン ツイ ツウ テイ テキ テツ テン デン ト トウ トク トツ ド ドウ ドク ナイ ナン ニュウ ニン ネツ ネン ノウ ハ ハイ ハク ハツ ハン バイ バン ヒ ヒツ ヒョウ ヒン ビ ビョウ ビン フ フウ フク ブ ブツ ブン ヘイ ヘキ ヘン ベイ ベツ ベン ホ ホウ ホク ホン ボ ボウ ボク マイ マツ マン ミン ム メイ メン モウ モク モン ヤク ユ ユウ ヨ ヨウ ヨク ライ ラク ラン リ リキ リツ リャク リュウ リョ リョウ リョク リン ルイ レイ レキ レツ レン ロ ロウ ロク ロン ワ".split()
LOANS = "アート アイ アップ イベント ウェブ エコ エリア オープン ガイド カード カフェ カレッジ キッズ クラブ グリーン ケア コース コート コミュニティ サービス サイクル サポート システム シティ ジム シニア スクール スポーツ スマート センター ソーラー ターミナル タウン チャレンジ テラス デイ デザイン ドーム ネット パーク バス ハウス バリア パス ピア ファミリー フォーラム プラザ プール ホーム ホール マップ メール モール ライフ ライン リサイクル リハビリ ルーム レンタル ワーク".split()
TABOO = set()  # readings that evaluation counts: never made up here
_d = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "samples", "dictionary.csv")
if os.path.exists(_d):
    with open(_d, encoding="utf-8-sig", newline="") as _f:
        TABOO = {x for row in csv.DictReader(_f) for x in row["reading"].split("|")}


def madeup(r, kind):
    """A name or term that the model cannot know: (katakana, katakana)."""
    while True:
        q = r.random()
        if q < 0.2:
            s = randkana(r)[0]
        elif kind in ("place", "sur", "ward") and q < 0.8:
            s = "".join(r.choice(NATIVE) for _ in range(r.choice((1, 2, 2, 2, 3)))) + (r.choice(ENDS) if r.random() < 0.4 else "")
            s = {"ward": s + "ク", "sur": s}.get(kind, s)
        elif q < 0.88 or kind not in ("proc", "fac"):
            s = "".join(r.choice(CHINESE) for _ in range(r.choice((2, 2, 3, 4, 4, 5, 6) if kind in ("proc", "fac", "dept") else (2, 2, 3))))
            if kind == "dept":
                s += r.choice(("カ", "カ", "キョク", "シツ", "ブ", "センター"))
        else:
            s = "".join(r.choice(r.choice((LOANS, LOANS, NATIVE, CHINESE))) for _ in range(r.choice((2, 2, 3))))
        if 2 <= len(s) and s not in TABOO:
            return s, s


T_OP = """お電話ありがとうございます。{ward}役所総合案内でございます。
お電話ありがとうございます。大阪市総合コールセンター、担当の{sur}でございます。
はい、{ward}{dept}の{sur}です。
{proc}についてのお問い合わせですね。
{proc}でしたら、{dept}が担当しております。
{proc}の手続きには、本人確認書類が必要です。
お手続きは{fac}の窓口でお願いいたします。
{place}の{fac}でもお手続きいただけます。
受付時間は午前{h9}時から午後{h5}時{m30}までです。
{dept}におつなぎしますので、少々お待ちください。
お名前とご住所をお伺いしてもよろしいでしょうか。
{sur}様でいらっしゃいますね。
{ward}{place}{n}丁目でお間違いないでしょうか。
お住まいは{ward}の{place}でしょうか。
申し訳ございません。もう一度お願いできますでしょうか。
少々お待ちください。確認いたします。
お待たせいたしました。
{proc}の期限は{mon}月{day}日です。
手数料は{yen}円です。
{item}の手数料は{yen}円になります。
収集日は{mon}月{day}日の{wd}曜日です。
収集日は毎週{wd}曜日と{wd}曜日です。
必要な書類は、{proc}と本人確認書類です。
郵送での申請も可能でございます。
オンラインでも申請いただけます。
担当は{dept}の{sur}でございました。
ほかにご不明な点はございませんか。
お電話ありがとうございました。失礼いたします。
電話番号は{tel}です。
折り返しお電話いたしますので、お電話番号をお願いします。
{place}駅から歩いて{n}分ほどです。
{fac}は{place}にございます。
{place}にお住まいの方は、{fac}が窓口になります。
次の休日開庁日は{mon}月{day}日です。
マイナンバーカードをお持ちでしたら、コンビニでも取得できます。
申請書はホームページからダウンロードできます。
審査には{n}週間ほどかかります。
それでは、{dept}へ転送いたします。
恐れ入りますが、{dept}へおかけ直しください。
ご予約は{mon}月{day}日の{hh}時でよろしいでしょうか。""".split("\n")
T_CU = """すみません、{proc}について教えてください。
{proc}の手続きをしたいのですが。
{proc}はどこで申し込めますか。
{proc}に必要な書類は何ですか。
{place}に住んでいます。
{ward}の{place}に住んでいる{sur}と申します。
{place}の{fac}は何時まで開いていますか。
{place}の{fac}の電話番号を教えてください。
{fac}の場所を教えてください。
{place}の近くで手続きできますか。
{place}から{place}に引っ越しました。
来月{place}に引っ越します。
{item}を捨てたいのですが、どうすればいいですか。
{item}の処分はいくらかかりますか。
{rel}の{proc}について相談したいのですが。
{rel}が{place}に住んでいます。
{proc}の通知が届きました。
{proc}の申請はいつまでですか。
電話番号は{tel}です。
住所は{ward}{place}{n}丁目{n}番{n}号です。
{sur}と申します。
{place}の道路に穴が開いています。
{place}の公園の街灯が消えています。
{place}の交差点の信号が見えにくいです。
{place}駅前に自転車が放置されています。
ごみの収集がまだ来ていません。
{mon}月{day}日に予約したいです。
{mon}月{day}日の{hh}時にお願いします。
はい、お願いします。
はい、そうです。
いいえ、違います。
わかりました。ありがとうございます。
もう一度言ってもらえますか。
{dept}につないでください。
担当の方はいらっしゃいますか。
{place}の避難所はどこですか。
{place}で水道が止まっています。
{rel}の代わりに手続きできますか。
料金はいくらですか。
土曜日も開いていますか。
{n}歳の子どもがいます。
{place}の保育所は空いていますか。
{proc}の納付書をなくしてしまいました。
{year}年度の{proc}をお願いします。
{place}の{place}という施設に行きたいのですが。
{place}小学校の場所を教えてください。
{place}行きのバスはありますか。""".split("\n")
T_TALK = """昨日{place}で{item}を見つけました。
{rel}が{sur}さんにお世話になりました。
うちの{item}が壊れてしまいました。
雨で{place}の川があふれそうです。
{place}から{place}まで何分かかりますか。
{sur}さんはもう帰られましたか。
今朝から{proc}の件で何度も電話しています。
{n}階の{dept}に行けと言われました。
それは{sur}が確認いたします。
{fac}の駐車場は{n}台までです。
手続きに{n}日ほどかかると聞きました。
書類が足りないと言われたんですが。
印鑑を持ってこなかったのですが、大丈夫ですか。
{rel}は{n}月に{place}で生まれました。
住所が変わったので届けたいです。
{year}年の{mon}月から{place}に住んでいました。
ええ、{place}の方です。
あの、{proc}ってどうなっていますか。
何番の窓口に行けばいいですか。
{wd}曜日の夜は開いていますか。
病院の予約を取りたいのですが。
学校から手紙が来ました。
道に{item}が捨ててあります。
近所の猫が増えて困っています。
電気代が払えません。
隣の音がうるさくて困っています。
バスが来ないのですが。
{place}の工事はいつ終わりますか。
{fac}で{proc}の説明を受けました。
そちらの住所を教えていただけますか。
{sur}です。先日はどうも。
{tel}です。
番号は{tel}ですね。
メールでも送ってもらえますか。
{proc}の用紙を{n}枚ください。
それでしたら{fac}へお越しください。
失礼ですが、生年月日をお願いします。
今日中にご連絡いたします。
その件は{dept}で承っております。
{yen}円お支払いください。
{rel}の名前は{sur}です。
仕事をやめたので保険を変えたいです。
水が出ないんです。
木が倒れて道がふさがっています。
子どもが熱を出しました。
{place}と{place}の間です。
{fac}の{sur}さんをお願いします。
確認して折り返します。
はい、{n}時に伺います。
{ward}から来ました。
では{dept}の者に代わります。
駅の前の大きな建物です。
{proc}と{proc}を一緒にできますか。
そうですか。困りましたね。
{place}、{place}、{place}の順に回ります。
ゆっくりお願いします。
聞こえますか。もしもし。
パソコンがないのですが。
結婚して名前が変わりました。
車を手放しました。
{n}人で住んでいます。
外国から来たばかりです。
父が亡くなりました。
{item}が{n}つあります。
去年も{proc}をお願いしました。
{fac}の裏の公園です。
右に曲がって{n}本目です。
お金はいつ振り込まれますか。
間違えて書いてしまいました。
{place}の坂の上です。
年寄りなので字が読めません。
もう少し大きな声でお願いします。""".split("\n")
DIG = "ゼロ イチ ニー サン ヨン ゴー ロク ナナ ハチ キュウ".split()


# how often a slot holds what the model cannot know
MADE = {"place": 0.35, "ward": 0.12, "fac": 0.4, "proc": 0.4, "dept": 0.4, "sur": 0.3}


def fill(r, tpl, places, kana_p=0.25, made={}):
    lab = ""
    rd = ""
    i = 0
    while i < len(tpl):
        if tpl[i] == "{":
            j = tpl.index("}", i)
            k = tpl[i + 1 : j]
            i = j + 1
            if k in made and r.random() < made[k]:
                a = madeup(r, k)
            elif k == "place":
                q = r.random()
                if places is not None:
                    a = r.choice(places)
                elif q < kana_p:
                    a = randkana(r)
                elif q < kana_p + 0.2:
                    x = r.choice(KANA)
                    a = (x[1], x[1])
                else:
                    a = r.choice(KNOWN)
            elif k == "ward":
                a = r.choice(WARDS)
            elif k == "fac":
                a = r.choice(FAC)
            elif k == "proc":
                a = r.choice(PROC)
            elif k == "dept":
                a = r.choice(DEPT)
            elif k == "sur":
                a = r.choice(SUR)
            elif k == "item":
                a = r.choice(ITEM)
            elif k == "rel":
                a = r.choice(REL)
            elif k == "n":
                s = str(r.randint(1, 12))
                a = (s, s)
            elif k == "mon":
                s = str(r.randint(1, 12))
                a = (s, s)
            elif k == "day":
                s = str(r.randint(1, 30))
                a = (s, s)
            elif k == "hh":
                s = str(r.randint(9, 17))
                a = (s, s)
            elif k == "h9":
                s = str(r.choice([8, 9]))
                a = (s, s)
            elif k == "h5":
                s = str(r.choice([5, 7]))
                a = (s, s)
            elif k == "m30":
                a = r.choice([("30分", "30分"), ("", ""), ("15分", "15分")])
            elif k == "yen":
                s = str(r.choice([200, 300, 350, 400, 450, 700, 1000, 1100, 1400, 2000, 750]))
                a = (s, s)
            elif k == "wd":
                a = r.choice([("月", "ゲツ"), ("火", "カ"), ("水", "スイ"), ("木", "モク"), ("金", "キン")])
            elif k == "year":
                n = r.randint(4, 9)
                a = (f"令和{n}", f"令和{n}")
            elif k == "tel":
                d = r.choice(["06", "090", "080", "070"])
                parts = [d, "".join(str(r.randint(0, 9)) for _ in range(4)), "".join(str(r.randint(0, 9)) for _ in range(4))]
                a = ("-".join(parts), "、".join("".join(DIG[int(c)] for c in p) for p in parts))
            lab += a[0]
            rd += a[1]
        else:
            lab += tpl[i]
            rd += tpl[i]
            i += 1
    return lab, rd


def sentence(r, places=None):
    return fill(r, r.choice(T_OP if r.random() < 0.5 else T_CU), places)


def utterance(r, places=None):
    a = sentence(r, places)
    if r.random() < 0.25:
        b = sentence(r, places)
        return a[0] + b[0], a[1] + b[1]
    if r.random() < 0.12:  # bare kana words, to teach spelling
        w = [randkana(r) for _ in range(r.randint(1, 4))]
        return "、".join(x[0] for x in w) + "です。", "、".join(x[1] for x in w) + "です。"
    return a


def words(r):
    """A few made-up words in a row, as they are heard: what teaches the ear."""
    w = [madeup(r, r.choice(("place", "place", "proc", "fac", "dept", "sur"))) for _ in range(r.randint(1, 4))]
    mark = r.choice(("、", "、", "の", "と"))
    end = r.choice(("です。", "です。", "。", "をお願いします。", "ですか。", "に"))
    return mark.join(x[0] for x in w) + end, mark.join(x[1] for x in w) + end


def wide_sentence(r):
    q = r.random()
    return fill(r, r.choice(T_TALK if q < 0.2 else T_OP if q < 0.6 else T_CU), None, 0.15, MADE)


def wide(r):
    q = r.random()
    if q < 0.2:
        return words(r)
    a = wide_sentence(r)
    if q > 0.85:
        b = wide_sentence(r)
        return a[0] + b[0], a[1] + b[1]
    return a
