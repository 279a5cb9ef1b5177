#!/usr/bin/env python3
"""Verifies usage statements without Tollgate.

    tollgate statement --account 2 --from 2026-11-01 --branch >branch.ndjson
    tollgate export --account 2 --output messages.ndjson
    statement.py branch.ndjson [messages.ndjson]

Every hash is made again, every chain is followed, an account's numbers are at least the sum of
those below it, and with an export the messages of each day are counted again for the whole branch
(of devices that were not moved meanwhile, and whose messages are still kept). Python 3.6 or later,
nothing else. Exit 1 and a line for each fault.
"""
import datetime
import json
import struct
import sys

NUMBERS = (
    "bytes_in bytes_out messages duplicates frames usage_bytes refused_bytes dropped_bytes "
    "dropped_messages api_calls api_traffic connections refused_channel_traffic "
    "refused_channel_messages refused_channel_connections refused_api_calls refused_api_traffic "
    "refused_channel_storage refused_device_storage"
).split()
DAY = 86400
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, ROOT = 1, 2, 8


def compress(chaining, block, length, flags):
    """One block of BLAKE3."""
    state = list(chaining) + list(IV[:4]) + [0, 0, length, flags]
    words = list(struct.unpack("<16I", block.ljust(64, b"\0")))

    def mix(a, b, c, d, x, y):
        for first, word, (turn_d, turn_b) in ((0, x, (16, 12)), (1, y, (8, 7))):
            state[a] = (state[a] + state[b] + word) & 0xFFFFFFFF
            turned = state[d] ^ state[a]
            state[d] = (turned >> turn_d | turned << (32 - turn_d)) & 0xFFFFFFFF
            state[c] = (state[c] + state[d]) & 0xFFFFFFFF
            turned = state[b] ^ state[c]
            state[b] = (turned >> turn_b | turned << (32 - turn_b)) & 0xFFFFFFFF

    for _ in range(7):
        for i in range(4):
            mix(i, 4 + i, 8 + i, 12 + i, words[2 * i], words[2 * i + 1])
        for i in range(4):
            b, c, d = 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4
            mix(i, b, c, d, words[8 + 2 * i], words[9 + 2 * i])
        words = [words[i] for i in PERMUTATION]
    return [state[i] ^ state[i + 8] for i in range(8)]


def blake3(data):
    """BLAKE3 of at most 1024 bytes: one chunk, no tree."""
    chaining, blocks = IV, [data[i : i + 64] for i in range(0, len(data), 64)] or [b""]
    for i, block in enumerate(blocks):
        flags = CHUNK_START * (i == 0) | (CHUNK_END | ROOT) * (i == len(blocks) - 1)
        chaining = compress(chaining, block, len(block), flags)
    return struct.pack("<8I", *chaining)


def hash_of(row):
    """The hash that a statement must have."""
    numbers = [row[name] for name in NUMBERS]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    head = bytes.fromhex(row["previous"]) + struct.pack("<QqB", row["cid"], row["timestamp"], len(numbers))
    return blake3(head + struct.pack("<%dQ" % len(numbers), *numbers)).hex()


def verify(rows, counted):
    """Every fault of statements, as lines."""
    by_day, before = {}, {}
    for row in rows:
        cid, at = row["cid"], row["timestamp"]
        name = "account %d, %s" % (cid, row["day"])
        day = datetime.date.fromordinal(datetime.date(1970, 1, 1).toordinal() + at // DAY)
        if str(day) != row["day"] or at % DAY:
            yield name + ": day and timestamp do not agree"
        if row["hash"] != hash_of(row):
            yield name + ": the hash is not that of its numbers"
        year = at - (day.timetuple().tm_yday - 1) * DAY
        if at == year and row["previous"] != blake3(b"tollgate statements" + struct.pack("<Qq", cid, year)).hex():
            yield name + ": the year does not begin with its own hash"
        if cid in before:
            last = before[cid]
            if last["timestamp"] + DAY != at:
                yield name + ": a day before it is missing"
            elif at != year and last["hash"] != row["previous"]:
                yield name + ": the chain is broken"
        before[cid] = row
        by_day.setdefault(at, {})[cid] = row
    for at, of_day in by_day.items():
        roots = [row for row in of_day.values() if row.get("owner_id") not in of_day]
        for cid, row in of_day.items():
            below = [other for other in of_day.values() if other.get("owner_id") == cid]
            for number in NUMBERS:
                if sum(other[number] for other in below) > row[number]:
                    yield "account %d, %s: %s is less than below it" % (cid, row["day"], number)
        if counted is not None and len(roots) == 1:
            found, root = counted.get(at, 0), roots[0]
            if found != root["messages"]:
                yield "%s: %d messages stated, %d in the export" % (root["day"], root["messages"], found)


def main():
    with open(sys.argv[1]) as lines:
        rows = [json.loads(line) for line in lines]
    counted = None
    if len(sys.argv) > 2:
        counted = {}
        with open(sys.argv[2]) as lines:
            for line in lines:
                at = int(json.loads(line)["server.timestamp"]) // DAY * DAY
                counted[at] = counted.get(at, 0) + 1
    faults = list(verify(rows, counted))
    print("\n".join(faults) or "%d statements, every hash and sum is right" % len(rows))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
