"""What the laboratory's Odoo database holds beside its modules; runs inside `odoo shell` (odoo_template.py), which gives it `env`.

The country (Japan: numbers in national form) and the users. Prints their names and keys as KEY=VALUE lines.
"""

import secrets

# pylint: disable=undefined-variable
env.ref("base.main_company").write({"country_id": env.ref("base.jp").id})
JAPANESE = {"lang": "ja_JP", "tz": "Asia/Tokyo"}
env.ref("base.user_admin").write(JAPANESE)

# what the bridge may beyond what every employee may: read cases, create and change phone calls
group = env["res.groups"].create({"name": "Telephony bridge", "implied_ids": [(4, env.ref("base.group_user").id)]})
for model, writes in {"crm.lead": False, "crm.phonecall": True}.items():
    env["ir.model.access"].create({
        "name": f"telephony bridge: {model}", "model_id": env["ir.model"]._get(model).id, "group_id": group.id,
        "perm_read": True, "perm_write": writes, "perm_create": writes, "perm_unlink": False,
    })


def user(login, name, groups):
    password = secrets.token_hex(12)
    made = env["res.users"].with_context(no_reset_password=True).create({
        "login": login, "name": name, "password": password, "groups_id": [(6, 0, [one.id for one in groups])], **JAPANESE,
    })
    return made, password


bridge, bridge_password = user("bridge", "Telephony bridge", [group])
key = env["res.users.apikeys"].with_user(bridge)._generate("rpc", "laboratory")
clerk = [env.ref("sales_team.group_sale_salesman_all_leads"), env.ref("base.group_partner_manager")]
_, operator_password = user("operator", "応対 花子", clerk)

env.cr.commit()

print(f"LOGIN=bridge\nPASSWORD={bridge_password}\nKEY={key}\nOPERATOR_LOGIN=operator\nOPERATOR_PASSWORD={operator_password}")
