"""Occurrences of calendar objects by python-icalendar and recurring-ical-events, which share no line with the worker.

Reads one JSON list [number, text] a line, and writes one JSON list [number, [[start, end], ...]] for each, or [number, null,
"why"] for an object that these libraries do not take. Times in a zone are written in UTC.
"""
import datetime
import json
import sys
import warnings

import icalendar
import recurring_ical_events

# Newer versions deprecate names that older ones need.
warnings.simplefilter("ignore")


def shown(time):
    if not isinstance(time, datetime.datetime):
        return time.strftime("%Y-%m-%d")
    if time.tzinfo is None:
        return time.strftime("%Y-%m-%dT%H:%M:%S")
    return time.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def end(event):
    start, end = event["DTSTART"].dt, event.get("DTEND")
    end = start if end is None else end.dt
    # A day without an end ends as it does (RFC 5545, 3.6.1); older versions leave it without length.
    if end == start and not isinstance(start, datetime.datetime):
        end = start + datetime.timedelta(days=1)
    return end


for line in sys.stdin:
    number, text = json.loads(line)
    try:
        calendar = icalendar.Calendar.from_ical(text)
        events = recurring_ical_events.of(calendar).between((2025, 12, 30), (2027, 1, 3))
        answer = [number, sorted([shown(e["DTSTART"].dt), shown(end(e))] for e in events)]
    except Exception as error:  # whatever these libraries raise is their answer
        answer = [number, None, repr(error)[:200]]
    print(json.dumps(answer), flush=True)
