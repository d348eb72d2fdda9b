"""The worker of the door's tests, in the place of ours: it runs code that a test gives, with `ask` and `tell` in it."""

import itertools
import json
import os
import sys
import threading
import time
from concurrent.futures import Future
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
from appose import NDArray

__all__ = ["answer", "command", "hello", "look", "os", "sys", "threading", "time"]

keys, waiting, task_now, kept = itertools.count(1), {}, [], {}


def hello():
    """Say what runs here."""
    return {"version": "fake", "python": "3", "pid": os.getpid()}


def command(task, call):
    """Run the code of a call's values; write its variable `result` to a file."""
    values = call["values"]
    task_now.append(task)
    scope = {"ask": ask, "tell": tell, "call": call, "task": task, "result": None, "kept": kept, **globals()}
    scope |= json.loads(values["given"])
    try:
        exec(values["code"], scope)
    finally:
        task_now.remove(task)
    Path(values["out"]).write_text(json.dumps(scope["result"], default=plain), encoding="utf-8")
    return {"failure": scope.get("failure", ""), "stopped": scope.get("stopped", task.cancel_requested)}


def look(task, call):
    """Keep what the ROI Manager holds, for `kept` of later code."""
    task_now.append(task)
    kept.setdefault("looks", []).append(ask("entries"))
    task_now.remove(task)


def ask(do, **values):
    """Ask Fiji; arrays go by shared memory."""
    memories = []

    def described(value):
        if isinstance(value, list) and value and isinstance(value[0], np.ndarray):
            return [described(one) for one in value]
        if not isinstance(value, np.ndarray):
            return value
        memory = SharedMemory(create=True, size=value.nbytes)
        memories.append(memory)
        np.ndarray(value.shape, value.dtype, buffer=memory.buf)[...] = value
        shared = {"appose_type": "shm", "name": memory.name, "rsize": value.nbytes}
        return {"appose_type": "ndarray", "dtype": value.dtype.name, "shape": list(value.shape), "shm": shared}

    key, waits = next(keys), Future()
    waiting[key] = waits
    try:
        sent = {name: described(value) for name, value in values.items()}
        task_now[-1].update(info={"key": key, "do": do, "with": sent})
        return waits.result()
    finally:
        for memory in memories:
            memory.close()
            memory.unlink()


def tell(do, **values):
    """Tell Fiji."""
    task_now[-1].update(info={"key": None, "do": do, "with": values})


def answer(key, value, fault):
    """Take the answer to a question."""
    if fault is None:
        waiting.pop(key).set_result(copied(value))
    else:
        waiting.pop(key).set_exception(RuntimeError(fault))


def copied(value):
    """Copy the arrays in an answer."""
    if isinstance(value, NDArray):
        array = value.ndarray().copy()
        value.shm.close()
        return array
    if isinstance(value, dict):
        return {name: copied(one) for name, one in value.items()}
    return value


def fault_of(do, **values):
    """Ask, and return the fault if there is one."""
    try:
        return ask(do, **values)
    except RuntimeError as error:
        return str(error)


def plain(array):
    """Write an array for JSON."""
    return [array.dtype.name, array.tolist()]
