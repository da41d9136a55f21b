#!/usr/bin/python3
"""Tiny traffic: servers, clients, a sniffer. Shared by the drawn incidents."""
import argparse, os, random, socket, struct, sys, threading, time
def fam(a): return socket.AF_INET6 if ':' in a else socket.AF_INET
def log(*w): print(time.strftime('%H:%M:%S'), *w, flush=True)
def rdline(s):
    b = b''
    while not b.endswith(b'\n'):
        c = s.recv(1)
        if not c: raise EOFError('peer closed')
        b += c
    return b.decode().split()
def rdn(s, n):
    got = 0
    while got < n:
        c = s.recv(min(65536, n - got))
        if not c: raise EOFError('peer closed after %d of %d' % (got, n))
        got += len(c)
    return got
def csum(b):
    if len(b) % 2: b += b'\0'
    t = sum(struct.unpack('!%dH' % (len(b) // 2), b))
    while t >> 16: t = (t & 0xffff) + (t >> 16)
    return ~t & 0xffff
def stray(c):
    """a segment of this connection far outside the window, as a late packet of a busy network is"""
    c.setsockopt(6, 19, 1)                                  # TCP_REPAIR
    c.setsockopt(6, 20, 2); snd = c.getsockopt(6, 21) & 0xffffffff
    c.setsockopt(6, 20, 1); rcv = c.getsockopt(6, 21) & 0xffffffff
    c.setsockopt(6, 19, -1)
    (la, lp), (ra, rp) = c.getsockname()[:2], c.getpeername()[:2]
    seq = (snd + 200_000_000) & 0xffffffff
    body = b'late' * 20
    t = struct.pack('!HHIIBBHHH', lp, rp, seq, rcv, 5 << 4, 0x18, 500, 0, 0) + body
    ps = socket.inet_aton(la) + socket.inet_aton(ra) + struct.pack('!BBH', 0, 6, len(t))
    t = t[:16] + struct.pack('!H', csum(ps + t)) + t[18:]
    r = socket.socket(socket.AF_INET, socket.SOCK_RAW, 6); r.sendto(t, (ra, 0)); r.close()
def serve(c, a):
    try:
        while True:
            w = rdline(c)
            if w[0] == 'G': c.sendall(b'x' * int(w[1]))
            else: rdn(c, int(w[1])); c.sendall(b'OK\n')
            if a.stray: time.sleep(.2); stray(c)
            if a.half: c.shutdown(socket.SHUT_WR); c.settimeout(36000); c.recv(1); break
    except (OSError, EOFError) as e: log('conn', c.fileno(), e)
    finally: c.close()
def tcpd(a):
    s = socket.socket(fam(a.addr)); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if fam(a.addr) == socket.AF_INET6: s.setsockopt(41, 26, 1)
    s.bind((a.addr, a.port)); s.listen(64)
    while True:
        c, p = s.accept(); threading.Thread(target=serve, args=(c, a), daemon=True).start()
def conn(a):
    s = socket.socket(fam(a.addr))
    if a.src or a.sport:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((a.src or ('::' if fam(a.addr) == socket.AF_INET6 else '0.0.0.0'), a.sport))
    s.settimeout(a.timeout); s.connect((a.addr, a.port)); return s
def ask(s, a):
    if a.put: s.sendall(b'P %d\n' % a.put + b'y' * a.put); rdline(s)
    else: s.sendall(b'G %d\n' % a.get); rdn(s, a.get)
def kill(s):
    try: s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()
    except OSError: pass
def tcpc(a):
    ok = bad = 0; s = None
    while True:
        t = time.time(); what = 'connect'
        try:
            if not s: s = conn(a)
            what = 'request'; ask(s, a)
            if a.again: what = 'late'; time.sleep(a.again); ask(s, a)
            if a.idle: what = 'request after %gs idle' % a.idle; time.sleep(a.idle); t = time.time(); ask(s, a)
            if a.linger:          # the peer has closed its side; we only later
                rest = s.recv(1); time.sleep(a.linger); s.close(); s = None
            ok += 1; log('ok', 'ok=%d fail=%d' % (ok, bad), '%.0f ms' % ((time.time() - t) * 1e3))
            if a.once: return 0
            if not a.keep and s: s.close(); s = None
        except (OSError, EOFError) as e:
            bad += 1; log('FAIL', what, repr(e), 'ok=%d fail=%d' % (ok, bad))
            if a.once: return 1
            if a.nogiveup and isinstance(e, TimeoutError) and s:
                while True:
                    try: s.settimeout(None); s.sendall(b'G 1\n'); time.sleep(a.every)
                    except OSError as e: log('gave up', repr(e)); break
            if s: kill(s)
            s = None
        time.sleep(a.every)
def pool(a):
    """n connections opened now; every one of them writes on and on, whatever becomes of the peer"""
    ss = [conn(a) for _ in range(a.n)]
    for s in ss: ask(s, a)
    log('ok', len(ss), 'connections')
    if a.ready: open(a.ready, 'w').close()
    last = {id(s): 0 for s in ss}
    while ss:
        for s in list(ss):
            try:
                s.setblocking(False)
                try: s.send(b'G 1\n')
                except BlockingIOError: pass
                try:
                    if s.recv(999): last[id(s)] = time.time()
                except BlockingIOError: pass
            except OSError as e: log('lost', repr(e)); ss.remove(s)
        silent = sum(time.time() - v > 3 for v in last.values())
        log('FAIL' if silent else 'ok', 'silent=%d of %d' % (silent, len(ss))); time.sleep(a.every)
    log('pool empty')
def udpd(a):
    s = socket.socket(fam(a.addr), socket.SOCK_DGRAM); s.bind((a.addr, a.port)); n = 0
    while True:
        b, p = s.recvfrom(65535); n += 1
        if a.oneway:
            if n % 10 == 1: log('got', n)
        else: s.sendto(b, p)
def udpc(a):
    ok = bad = 0; s = None
    while True:
        try:
            if not s:
                s = socket.socket(fam(a.addr), socket.SOCK_DGRAM); s.settimeout(a.timeout)
                if a.sport: s.bind(('::' if ':' in a.addr else '0.0.0.0', a.sport))
                if not a.oneway: s.connect((a.addr, a.port))
            if a.oneway: s.sendto(b'm:1|c', (a.addr, a.port)); ok += 1; log('sent', ok)
            else: s.send(os.urandom(a.get)); s.recv(65535); ok += 1; log('ok', 'ok=%d fail=%d' % (ok, bad))
            if a.once: return 0
        except OSError as e:
            bad += 1; log('FAIL', repr(e), 'ok=%d fail=%d' % (ok, bad))
            if a.once: return 1
        if not a.keep and not a.sport: s.close(); s = None
        time.sleep(a.every)
def sniff(a):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind((a.addr, 0)); end = time.time() + a.timeout; n = 0
    while time.time() < end and n < a.n:
        s.settimeout(max(.01, end - time.time()))
        try: b, m = s.recvfrom(65535)
        except TimeoutError: break
        l = show(b[12:14], b[14:])
        if l and all(any(o in l for o in w.split('|')) for w in a.grep):
            print('%s %s %s' % (time.strftime('%H:%M:%S'), 'out' if m[2] == 4 else 'in ', l), flush=True); n += 1
    print('(%d packets shown)' % n)
def show(t, b):
    if t == b'\x08\x06':
        op = 'who-has' if b[7] == 1 else 'is-at %s' % b[8:14].hex(':')
        return 'ARP %s %s tell %s' % (op, socket.inet_ntoa(b[24:28] if b[7] == 1 else b[14:18]), socket.inet_ntoa(b[14:18] if b[7] == 1 else b[24:28]))
    if t == b'\x08\x00': h = (b[0] & 15) * 4; p = b[9]; s, d = socket.inet_ntoa(b[12:16]), socket.inet_ntoa(b[16:20]); x = b[h:]; ln = struct.unpack('!H', b[2:4])[0]
    elif t == b'\x86\xdd': p = b[6]; s, d = socket.inet_ntop(10, b[8:24]), socket.inet_ntop(10, b[24:40]); x = b[40:]; ln = 40 + struct.unpack('!H', b[4:6])[0]
    else: return ''
    if p in (6, 17):
        sp, dp = struct.unpack('!HH', x[:4])
        f = ''.join(c for c, m in zip('SAFRP', (2, 16, 1, 4, 8)) if x[13] & m) if p == 6 else ''
        l = '%s %s:%d > %s:%d %s len %d' % ('TCP' if p == 6 else 'UDP', s, sp, d, dp, f, ln)
        if p == 17 and dp in (4789, 8472, 4790) and len(x) > 30: l += ' { vni %d %s }' % (int.from_bytes(x[12:15], 'big'), show(x[28:30], x[30:]))
        return l
    if p in (1, 58): return 'ICMP%s %s > %s type %d code %d len %d' % ('6' if p == 58 else '', s, d, x[0], x[1], ln) + (' target %s' % socket.inet_ntop(10, x[8:24]) if p == 58 and x[0] in (135, 136) else '')
    return 'proto %d %s > %s len %d' % (p, s, d, ln)
def arpd(a):
    """what a MetalLB speaker does: it answers who-has of one address with its NIC's MAC"""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x806)); s.bind((a.addr, 0x806)); mac = s.getsockname()[4]; ip = socket.inet_aton(a.src)
    while True:
        b = s.recv(2048)
        if b[20:22] == b'\0\1' and b[38:42] == ip and b[22:28] != mac:
            s.send(b[6:12] + mac + b'\x08\x06\0\1\x08\0\6\4\0\2' + mac + ip + b[22:32])
def vrrp(a):
    """a VRRP master: once a second an advertisement and a gratuitous ARP of its address"""
    g = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); g.bind((a.addr, 0x806)); mac = g.getsockname()[4]; ip = socket.inet_aton(a.src)
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112); s.setsockopt(socket.SOL_SOCKET, 25, a.addr.encode()); s.setsockopt(0, socket.IP_MULTICAST_TTL, 255)
    while True:
        m = bytes([0x21, a.port, a.n, 1, 0, 1, 0, 0]) + ip + b'\0' * 8; m = m[:6] + struct.pack('!H', csum(m)) + m[8:]
        s.sendto(m, ('224.0.0.18', 0)); g.send(b'\xff' * 6 + mac + b'\x08\x06\0\1\x08\0\6\4\0\1' + mac + ip + b'\0' * 6 + ip); time.sleep(1 - (time.time() - (0 if a.n > 100 else .5)) % 1)
def rad(a):
    """a router's advertisements: default router, lifetime 1800 s, every 2 s"""
    s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58); s.setsockopt(socket.SOL_SOCKET, 25, a.addr.encode()); s.setsockopt(41, socket.IPV6_MULTICAST_HOPS, 255)
    while True:
        s.sendto(struct.pack('!BBHBBHII', 134, 0, 0, 64, 0, 1800, 0, 0), ('ff02::1', 0, 0, socket.if_nametoindex(a.addr))); time.sleep(2)
def holder(a):
    """a library that keeps connections which the server has closed: one more in every window of --every seconds, from port sport+window%500"""
    held = []
    while True:
        w = int(time.time() / a.every); a2 = argparse.Namespace(**{**vars(a), 'sport': a.sport + w % 500})
        try: s = conn(a2); ask(s, a2); s.recv(1); held.append(s); log('ok held', a2.sport)
        except (OSError, EOFError) as e: log('FAIL', a2.sport, repr(e))
        if len(held) > 200: held.pop(0).close()
        time.sleep(max(.1, (w + 1) * a.every + .2 - time.time()))
def follower(a):
    """another pod's client that happens to get the same source port in the second half of the window; it tries again with another port"""
    ok = bad = 0
    while True:
        w = int(time.time() / a.every); time.sleep(max(0, (w + .8) * a.every - time.time()))
        for sp in (a.sport + w % 500, 0):
            a2 = argparse.Namespace(**{**vars(a), 'sport': sp})
            try: s = conn(a2); ask(s, a2); s.close(); ok += 1; log('ok', 'port', sp, 'ok=%d fail=%d' % (ok, bad))
            except (OSError, EOFError) as e: bad += 1; log('FAIL port', sp, repr(e), 'ok=%d fail=%d' % (ok, bad))
        time.sleep(max(.1, (w + 1) * a.every + .1 - time.time()))
p = argparse.ArgumentParser(); p.add_argument('mode'); p.add_argument('addr'); p.add_argument('port', nargs='?', type=int, default=0)
for o, d in (('every', 1.), ('timeout', 2.), ('idle', 0.), ('again', 0.), ('linger', 0.)): p.add_argument('--' + o, type=float, default=d)
for o, d in (('get', 100), ('put', 0), ('sport', 0), ('n', 8)): p.add_argument('--' + o, type=int, default=d)
for o in ('keep', 'once', 'half', 'stray', 'oneway', 'nogiveup'): p.add_argument('--' + o, action='store_true')
p.add_argument('--src'); p.add_argument('--ready'); p.add_argument('--grep', action='append', default=[])
a = p.parse_args(); sys.exit(globals()[a.mode](a) or 0)
