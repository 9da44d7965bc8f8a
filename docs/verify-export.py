#!/usr/bin/env python3
"""Verify an export of the Plexus audit log: verify-export.py [FILE] (or standard input).

A line is SHA-256 in hex, one space, the event as JSON. The hash is taken over the 32 bytes of the hash before it
and the JSON's bytes; before event 1 stand 32 zero bytes. An export that begins later is proven from its second
event on. Exit status 0: it holds together. 1: the first bad event is named.
"""
import hashlib
import json
import re
import sys


def verify(lines):
    first, seq, previous = None, 0, bytes(32)
    for line in lines:
        digest, _, text = line.rstrip(b"\n").partition(b" ")
        named = re.search(rb'"(evt_[0-9a-fA-F-]{36})"', text)
        name = named.group(1).decode() if named else "no id"
        try:
            number = int(json.loads(text)["seq"])
        except (ValueError, KeyError, TypeError):
            return f"event {seq + 1} ({name}) is not an event"
        if first is None:
            first, seq = number, number - 1
        if number != seq + 1:
            return f"event {seq + 1} ({name}) says it is number {number}"
        proven = number == 1 or number > first
        follows = hashlib.sha256(previous + text).hexdigest().encode() == digest
        if not re.fullmatch(rb"[0-9a-f]{64}", digest) or (proven and not follows):
            return f"event {number} ({name}) does not follow from the one before it"
        seq, previous = number, bytes.fromhex(digest.decode())
    print(f"{seq - first + 1 if first else 0} events from event {first or 0}, head {previous.hex()}")
    return None


if __name__ == "__main__":
    with open(sys.argv[1], "rb") if len(sys.argv) > 1 else sys.stdin.buffer as export:
        problem = verify(export)
    if problem:
        sys.exit(print(problem) or 1)
