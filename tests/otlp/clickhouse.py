#!/usr/bin/env python3
"""As much of ClickHouse's HTTP interface as a collector's exporter and curl ask for, over its engine in
PyPI's `chdb`: POST /?query=INSERT ... FORMAT ..., and a query in the body or in ?query=.

usage: clickhouse.py ADDRESS:PORT SQL-FILE...   (the files are run first: tables, views)"""
import os, sys, tempfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

from chdb.session import Session

session = Session()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        data = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def run(self, query, data):
        if not query:
            return session.query(data.decode(), "TSVWithNames").bytes()
        if not query.upper().startswith("INSERT"):
            return session.query(query, "TSVWithNames").bytes()
        # The engine within a process takes rows from a file.
        into, form = query.rsplit(" FORMAT ", 1)
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            session.query(f"{into} FROM INFILE '{file.name}' FORMAT {form}")
        return b""

    def do_POST(self):
        query = parse_qs(urlsplit(self.path).query).get("query", [""])[0]
        try:
            status, answer = 200, self.run(query, self.body())
        except Exception as error:
            status, answer = 500, str(error).encode()
            print(error, file=sys.stderr, flush=True)
        self.send_response(status)
        # Whoever comes next is not to wait for this one's connection.
        self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(answer or b"")))
        self.end_headers()
        self.wfile.write(answer or b"")

    do_GET = do_POST

    def log_message(self, *_):
        pass


for file in sys.argv[2:]:
    text = "\n".join(line for line in open(file) if not line.startswith("--"))
    for statement in filter(str.strip, text.split(";")):
        session.query(statement)
session.query("CREATE DATABASE IF NOT EXISTS otel")
session.query("USE otel")
host, port = sys.argv[1].rsplit(":", 1)
print("ready", file=sys.stderr, flush=True)
# One request at a time: the engine has one session.
HTTPServer((host, int(port)), Handler).serve_forever()
