"""What schemathesis must not vary.

`x-flespi-cid` is on every call, so that everything happens in one account and its branch: the token
belongs to the account above, out of its own reach. A header that nobody knows is no mistake. A
queue is not waited at.
"""

import schemathesis


@schemathesis.hook
def before_load_schema(context, raw_schema):
    fixed = {"$ref": "#/components/parameters/cid"}
    for path in raw_schema["paths"].values():
        for operation in path.values():
            operation["parameters"] = [one for one in operation["parameters"] if one != fixed]
            for one in operation["parameters"]:
                if one.get("name") == "data":
                    schema = one["content"]["application/json"]["schema"]
                    schema["properties"].pop("timeout", None)


@schemathesis.hook
def filter_case(context, case):
    return not any(name.lower().startswith("x-schemathesis") for name in case.headers or {})
