#!/usr/bin/env python3
"""A program of the contract "Load" of tests/interop/README.md that does no work, and can do wrong in these ways:

    good        it answers with round figures
    newer       it does so, and calls itself another version
    busy        it does so, and burns CPU all the time
    slow        it asks for 0.6 s to warm up, and cannot do a load that gives it less
    mute        it ends before it is ready
    ignorant    it knows no command
    dies        it ends when it is told to load
    falls       it ends while it is measured, as a listener: when somebody else has begun
    babbles     it answers with no JSON
    answers     it answers without a measurement
    lacks       its answer has no units
    refuses     it cannot do that load
    fails       it can, but none of its units succeeds
    once FILE   it dies the first time, and makes FILE
"""

import json
import os
import sys
import threading
import time

mode = sys.argv[1]
print("/ip4/127.0.0.1/tcp/1/p2p/fake", flush=True)
if mode == "mute":
    sys.exit("no luck today")
print("ready", flush=True)


def burn():
    while True:
        sum(range(1000))


if mode == "busy":
    threading.Thread(target=burn, daemon=True).start()


def say(**fields):
    print(json.dumps(fields), flush=True)


def load(tag, work, keys):
    if mode == "dies":
        sys.exit("it was too much")
    if mode == "once" and not os.path.exists(sys.argv[2]):
        open(sys.argv[2], "w").close()
        sys.exit("not the first time")
    if mode == "babbles":
        print("what?", flush=True)
        return
    if mode == "refuses":
        say(id=tag, case="load", ok=False, error="no bulk today")
        return
    if mode == "slow" and float(keys.get("warm", 0)) < 0.6:
        say(id=tag, case="load", ok=False, error="too cold")
        return
    if mode != "answers":
        time.sleep(float(keys.get("warm", 0)))
        say(id=tag, event="begin")
        if mode == "falls":
            os.kill(os.getpid(), 11)
        sum(range(1000))  # the clocks of the process move
        time.sleep(float(keys.get("seconds", 0.05)))
        say(id=tag, event="end")
    answer = {"units": 1000 * float(keys.get("seconds", 1)), "seconds": float(keys.get("seconds", 1)), "failed": 0,
              "p50Us": 10, "p90Us": 20, "p99Us": 30, "p999Us": 40, "maxUs": 50}
    if mode == "fails":
        answer.update(units=0, failed=7, why="nobody is there")
    if mode == "lacks":
        del answer["units"]
    say(id=tag, case="load", ok=True, **answer)


for line in sys.stdin:
    tag, command, *words = line.split()
    if command == "about" and mode != "ignorant":
        say(id=tag, case="about", ok=True, implementation="fake", version="2" if mode == "newer" else "1", workers=1,
            waiting="sleep", **({"warm": 0.6} if mode == "slow" else {}))
    elif command == "load" and mode != "ignorant":
        load(tag, words[0], dict(word.split("=", 1) for word in words[2:]))
    else:
        say(id=tag, case=command, ok=False, error="no command " + command)
