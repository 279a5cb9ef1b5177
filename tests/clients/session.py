"""A full session of three public clients of flespi against a running Tollgate.

    session.py BASE KEY TOLLGATE CAPTURE

BASE is the gateway's address, KEY a Master token, TOLLGATE the binary (it plays CAPTURE, a pcap of
Teltonika trackers, at the channel that is made here). The clients are what PyPI has, unmodified but
for `https://flespi.io` in them, which is BASE: `.ci/run` installs them so.

flespi           makes and changes things by plain paths: limit, subaccount, channel, device
flespi-sdk       walks the account tree, reads and writes items, takes errors apart
flespi-gateway   reads a device: messages, telemetry, connections, logs, packets, settings
"""

import asyncio
import json
import subprocess
import sys
import time
import urllib.parse

import requests
from flespi.rest import FlespiClient
from flespi_gateway.gateway import Device
from flespi_sdk import token_login
from flespi_sdk.exception import FlespiException

BASE, KEY, TOLLGATE, CAPTURE = sys.argv[1:5]
IDENT = "123456789012345"


def soon(rows):
    """The rows of a log, once it has some: it is written ten times a second."""
    end = time.monotonic() + 5
    while not (found := rows()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def done(answer):
    """The rows of an answer of the client `flespi` that must have gone well."""
    assert answer["error"] is False, answer
    assert "errors" not in answer["message"], answer
    return answer["message"]["result"]


def refused(answer, status, code):
    assert answer["error"] is True and answer["code"] == status, answer
    error = answer["message"]["errors"][0]
    assert error["code"] == code and error["reason"], answer
    return error


def acting_for(cid, path, items):
    """What no client here can: make something in a subaccount."""
    headers = {"Authorization": f"FlespiToken {KEY}", "x-flespi-cid": str(cid)}
    answer = requests.post(BASE + path, headers=headers, data=json.dumps(items), timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def query(**data):
    return urllib.parse.urlencode({"data": json.dumps(data)})


def with_flespi():
    """Makes what the others look at. Gives the ids of subaccount, channel and device, and the
    subaccount's own token."""
    master = FlespiClient(KEY)
    assert done(master.get("/auth/info"))[0]["access"]["type"] == 1
    limit = done(master.post("/platform/limits", [{"name": "small", "channel_messages": 5000}]))[0]
    assert limit["devices_count"] == -1
    body = [{"name": "customer", "limit_id": limit["id"], "metadata": {"town": "Brest"}}]
    customer = done(master.post("/platform/subaccounts", body))[0]
    assert customer["id"] != customer["cid"]
    body = [{"name": "trackers", "protocol_name": "teltonika", "configuration": {}}]
    channel = done(master.post("/gw/channels", body))[0]
    assert channel["messages_ttl"] == 86400 and ":" in channel["uri"]
    token = acting_for(
        customer["id"],
        "/platform/tokens",
        [{"info": "theirs", "ttl": 3600, "access": {"type": 1}}],
    )[0]
    assert len(token["key"]) == 64

    theirs = FlespiClient(token["key"])
    protocols = done(theirs.get("/gw/channel-protocols/all?fields=id,name,features"))
    protocol = next(row for row in protocols if row["name"] == "teltonika")
    types = done(theirs.get(f"/gw/channel-protocols/{protocol['id']}/device-types/all"))
    body = [
        {
            "name": "truck",
            "device_type_id": types[0]["id"],
            "configuration": {"ident": IDENT},
        }
    ]
    device = done(theirs.post("/gw/devices", body))[0]
    assert device["cid"] == customer["id"] and device["protocol_id"] == protocol["id"]
    assert refused(theirs.post("/gw/devices", body), 409, 5)["reason"].startswith("ident already exists")
    error = refused(theirs.post("/gw/devices", [{**body[0], "colour": "red"}]), 400, 2)
    assert error["field"] == "colour" and error["reason"] == "field is not allowed"
    assert refused(theirs.get("/gw/devices/987654"), 403, 3)["id"] == 987654
    # the channel is the reseller's: used, not seen
    refused(theirs.get(f"/gw/channels/{channel['id']}"), 403, 3)

    # what was read may be written back with a change
    changed = done(theirs.put(f"/gw/devices/{device['id']}", {**device, "name": "lorry"}))[0]
    assert changed["name"] == "lorry" and changed["configuration"]["ident"] == IDENT
    for selector in ["name=lorry", f"configuration.ident={IDENT}", '{name ~ "lor*"}']:
        path = "/gw/devices/" + urllib.parse.quote(selector) + "?fields=id,configuration.ident"
        row = {"id": device["id"], "configuration": {"ident": IDENT}}
        assert done(theirs.get(path)) == [row], selector

    port = channel["uri"].rsplit(":", 1)[1]
    play = [TOLLGATE, "replay", CAPTURE, "--to", f"127.0.0.1:{port}", "--speed", "max"]
    subprocess.run(play, check=True, stdout=subprocess.DEVNULL)

    buffer = done(master.get(f"/gw/channels/{channel['id']}/messages?" + query(curr_key=0, limit_count=5)))
    assert buffer and buffer[0]["ident"] == IDENT and buffer[0]["channel.id"] == channel["id"]
    used = done(master.get("/platform/customer/statistics?" + query(count=10, reverse=True)))
    assert sum(row["channels_messages"] for row in used) > 0
    logs = f"/platform/subaccounts/{customer['id']}/logs?" + query(count=5)
    assert soon(lambda: done(master.get(logs)))[0]["event_code"] == 1
    spare = done(master.post("/platform/limits", [{"name": "spare"}]))[0]
    assert done(master.delete(f"/platform/limits/{spare['id']}")) == [{"id": spare["id"]}]
    refused(master.delete(f"/platform/subaccounts/{customer['id']}"), 409, 5)
    return customer["id"], channel["id"], device["id"], token["key"]


async def with_sdk(customer, device):
    account = await token_login(KEY)
    try:
        assert account.name
        fields = await account.get_fields(["counters", "blocked", "enabled", "limits"])
        assert fields["counters"]["devices_count"] == 1 and fields["enabled"] is True
        children = await account.subaccounts.list()
        child = next(one for one in children if one.id == customer)
        assert await child.get_name() == "customer"
        assert await child.get_metadata_value("town") == "Brest"
        await child.set_metadata_value("contact.name", "Anna")
        assert await child.get_metadata_value("contact.name", ignore_cache=True) == "Anna"
        await child.delete_metadata_value("contact.name")

        # the reseller has none of its own, its branch has one
        assert await account.devices.list() == []
        assert [one.id for one in await account.devices.list(recursive=True)] == [device]
        assert [one.id for one in await child.devices.list('{name ~ "lor*"}')] == [device]
        one = await child.devices.get(device)
        assert one.name is None and one.configuration["ident"] == IDENT
        assert one.connected is False and one.blocked == 0 and one.messages_ttl == 31536000
        assert one.telemetry["position.latitude"].keys() == {"ts", "value"}
        assert one.settings == {} and one.calcs == []
        await one.set_metadata({"plate": "B-AB 12"})
        assert await one.get_metadata_value("plate") == "B-AB 12"
        try:
            await account.devices.get(987654)
            raise AssertionError("a device that is not there was given")
        except FlespiException as error:
            assert error.status_code == 403
            assert error.errors[0].code == 3 and error.errors[0].id == 987654
    finally:
        await account.stop()


def with_gateway(device, key):
    mine = Device(device_number=device, flespi_token=key)
    assert [row["id"] for row in mine.get_devices()["result"]] == [device]
    assert [row["id"] for row in mine.get_devices(all=True)["result"]] == [device]
    every = mine.get_messages()["result"]
    assert every and all(message["ident"] == IDENT for message in every)
    times = [message["timestamp"] for message in every]
    assert times == sorted(times)
    last = mine.get_messages(data={"count": 3, "reverse": True, "fields": "timestamp,position.*"})
    assert [message["timestamp"] for message in last["result"]] == times[:-4:-1]
    fast = mine.get_messages(params={"data": json.dumps({"filter": "position.speed > 10"})})["result"]
    assert all(message["position.speed"] > 10 for message in fast)
    span = mine.get_messages(data={"from": times[1], "to": times[-2]})["result"]
    assert span[0]["timestamp"] == times[1] and span[-1]["timestamp"] == times[-2]
    batches = list(mine.iter_messages_since(0, count=10))
    assert len(batches) > 1 and all(len(batch) <= 10 for batch in batches)

    telemetry = mine.get_telemetry()["result"][0]
    assert telemetry["id"] == device
    assert telemetry["telemetry"]["ident"]["value"] == IDENT
    assert "latitude" in telemetry["telemetry"]["position"]["value"]
    assert mine.get_connections()["result"] == []
    now = time.time()
    asked = {"data": json.dumps({"from": now - 600, "to": now + 600})}
    logs = soon(lambda: mine.get_logs(params=asked)["result"])
    codes = [row["event_code"] for row in logs]
    assert codes[0] == 1 and {2, 300, 301} <= set(codes), codes
    assert mine.get_logs()["result"] == []
    assert mine.get_packets()["result"] == []
    now = {"data": json.dumps({"from": now - 600, "to": now + 600})}
    assert isinstance(mine.get_packets(params=now)["result"], list)
    assert mine.get_settings()["result"] == []


customer, channel, device, key = with_flespi()
asyncio.run(with_sdk(customer, device))
with_gateway(device, key)
print(f"three clients are content: subaccount {customer}, channel {channel}, device {device}")
