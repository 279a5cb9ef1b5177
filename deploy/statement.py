#!/usr/bin/env python3
"""Verifies usage statements without Tollgate:

    tollgate statement --account 2 --from 2026-11-01 --branch >branch.ndjson
    tollgate export --account 2 --output messages.ndjson
    statement.py branch.ndjson [messages.ndjson]

Every hash is made again, every chain is followed, an account's numbers are at least the sum of those below it,
and with an export the messages of each day are counted again for the whole branch (of devices that were not
moved meanwhile, and whose messages are still kept). Python 3.6 or later. Exit 1 and a line for each fault.
"""
import collections
import datetime
import json
import struct
import sys

NUMBERS = (
    "bytes_in bytes_out messages duplicates frames usage_bytes refused_bytes dropped_bytes dropped_messages api_calls "
    "api_traffic connections refused_channel_traffic refused_channel_messages refused_channel_connections "
    "refused_api_calls refused_api_traffic refused_channel_storage refused_device_storage"
).split()
DAY = 86400
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)


def compress(chaining, block, flags):
    """One block of BLAKE3."""
    state = [*chaining, *IV[:4], 0, 0, len(block), flags]
    words = struct.unpack("<16I", block.ljust(64, b"\0"))
    for _ in range(7):
        for i in range(8):  # four columns, then four diagonals
            turn = i // 4
            a, b, c, d = i % 4, 4 + (i + turn) % 4, 8 + (i + 2 * turn) % 4, 12 + (i + 3 * turn) % 4
            for word, turn_d, turn_b in ((words[2 * i], 16, 12), (words[2 * i + 1], 8, 7)):
                state[a] = (state[a] + state[b] + word) & 0xFFFFFFFF
                turned = state[d] ^ state[a]
                state[d] = (turned >> turn_d | turned << (32 - turn_d)) & 0xFFFFFFFF
                state[c] = (state[c] + state[d]) & 0xFFFFFFFF
                turned = state[b] ^ state[c]
                state[b] = (turned >> turn_b | turned << (32 - turn_b)) & 0xFFFFFFFF
        words = [words[i] for i in (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)]
    return [state[i] ^ state[i + 8] for i in range(8)]


def blake3(data):
    """BLAKE3 of 1 to 1024 bytes: one chunk, no tree."""
    chaining = IV
    for i in range(0, len(data), 64):
        flags = 1 * (i == 0) | 10 * (i + 64 >= len(data))  # CHUNK_START; CHUNK_END and ROOT
        chaining = compress(chaining, data[i : i + 64], flags)
    return struct.pack("<8I", *chaining).hex()


def hash_of(row):
    """The hash that a statement must have."""
    numbers = [row[name] for name in NUMBERS]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    head = bytes.fromhex(row["previous"]) + struct.pack("<QqB", row["cid"], row["timestamp"], len(numbers))
    return blake3(head + struct.pack("<%dQ" % len(numbers), *numbers))


def verify(rows, counted):
    """Every fault of statements, as lines."""
    by_day, before = {}, {}
    for row in rows:
        cid, at, name = row["cid"], row["timestamp"], "account %d, %s: " % (row["cid"], row["day"])
        day = datetime.date.fromordinal(datetime.date(1970, 1, 1).toordinal() + at // DAY)
        year = at - (day.timetuple().tm_yday - 1) * DAY
        if str(day) != row["day"] or at % DAY:
            yield name + "day and timestamp do not agree"
        if row["hash"] != hash_of(row):
            yield name + "the hash is not that of its numbers"
        if at == year and row["previous"] != blake3(b"tollgate statements" + struct.pack("<Qq", cid, year)):
            yield name + "the year does not begin with its own hash"
        last = before.get(cid)
        if last and last["timestamp"] + DAY != at:
            yield name + "a day before it is missing"
        elif last and at != year and last["hash"] != row["previous"]:
            yield name + "the chain is broken"
        before[cid] = by_day.setdefault(at, {})[cid] = row
    for at, of_day in by_day.items():
        for cid, row in of_day.items():
            below = [other for other in of_day.values() if other.get("owner_id") == cid]
            for number in NUMBERS:
                if sum(other[number] for other in below) > row[number]:
                    yield "account %d, %s: %s is less than below it" % (cid, row["day"], number)
        roots = [row for row in of_day.values() if row.get("owner_id") not in of_day]
        if counted is not None and len(roots) == 1 and counted[at] != roots[0]["messages"]:
            yield "%s: %d messages stated, %d in the export" % (roots[0]["day"], roots[0]["messages"], counted[at])


def rows(name):
    """The objects of a file, one a line; what is none ends the program with its place."""
    try:
        with open(name) as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield json.loads(line)
                except ValueError:
                    sys.exit("%s, line %d: no JSON, a line for each is wanted as Tollgate prints them" % (name, number))
    except (OSError, UnicodeDecodeError) as error:
        sys.exit("%s: %s" % (name, error))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: statement.py STATEMENTS.ndjson [MESSAGES.ndjson]")
    try:
        statements = list(rows(sys.argv[1]))
        exported = (row["server.timestamp"] for name in sys.argv[2:] for row in rows(name))
        days = collections.Counter(at // DAY * DAY for at in exported)
    except KeyError as name:
        sys.exit("%s: a line without %s: is it an export of messages?" % (sys.argv[-1], name))
    missing = [name for row in statements for name in ("cid", "day", "timestamp", "previous", "hash", *NUMBERS) if name not in row]
    if missing:
        sys.exit("%s: a line without %r: is it what `tollgate statement` prints?" % (sys.argv[1], missing[0]))
    faults = list(verify(statements, days if len(sys.argv) > 2 else None))
    print("\n".join(faults) or "%d statements, every hash and sum is right" % len(statements))
    sys.exit(1 if faults else 0)
