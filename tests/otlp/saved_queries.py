#!/usr/bin/env python3
"""Saved queries, asked of rows that a test makes, by ClickHouse's engine in PyPI's `chdb`.

usage: saved_queries.py FILE   (of {"setup": [SQL], "rows": [{"ago": seconds, "node", "body", "attributes"}], "queries": {name: SQL}})

Prints {name: rows}. `ago` counts from the beginning of these five minutes."""
import json, sys, tempfile, time

from chdb.session import Session

asked = json.load(open(sys.argv[1]))
session = Session()
for text in asked["setup"]:
    text = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    for statement in filter(str.strip, text.split(";")):
        session.query(statement)

# Which rows fall in one row of a table does not depend on when this runs, then.
begin = int(time.time()) // 300 * 300
with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
    for row in asked["rows"]:
        json.dump({
            "Timestamp": f"{begin - row['ago']}.000000000",
            "Body": row["body"],
            "ResourceAttributes": {"k8s.node.name": row["node"]},
            "LogAttributes": row["attributes"],
        }, file)
        file.write("\n")
    file.flush()
    session.query(f"INSERT INTO otel.otel_logs (Timestamp, Body, ResourceAttributes, LogAttributes) "
                  f"FROM INFILE '{file.name}' FORMAT JSONEachRow")

session.query("SET output_format_json_quote_64bit_integers = 0")
answers = {}
for name, query in asked["queries"].items():
    lines = session.query(query, "JSONEachRow").bytes().decode().splitlines()
    answers[name] = [json.loads(line) for line in lines]
print(json.dumps(answers))
