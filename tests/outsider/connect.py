"""What clickhouse-connect gets from the ClickHouse of the stack: a line for each feature,
its name, a tab, and `ok` or what was wrong. The table `t (n UInt64, s String)` is in the
database of the environment; the columns of `kinds` are of many types."""

import datetime
import decimal
import os
import sys
import urllib.parse
import uuid

import clickhouse_connect
import numpy
import pandas
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError
from clickhouse_connect.driver.external import ExternalData

URL = urllib.parse.urlsplit(os.environ["CLICKHOUSE_URL"])
ROWS = 100_000


def connect(**more):
    return clickhouse_connect.get_client(
        host=URL.hostname,
        port=URL.port,
        username=os.environ["CLICKHOUSE_USER"],
        password=os.environ["CLICKHOUSE_PASSWORD"],
        database=os.environ["CLICKHOUSE_DATABASE"],
        **more,
    )


def same(seen, expected):
    assert seen == expected, f"{seen!r} and not {expected!r}"


def refused(code, ask):
    try:
        ask()
    except ClickHouseError as error:
        assert str(code) in str(error), f"{error} has no {code}"
        return
    raise AssertionError(f"no error {code}")


def query():
    result = connect().query("SELECT n, s FROM t ORDER BY n LIMIT 2")
    same(result.result_rows, [(0, "s0"), (1, "s1")])
    same(result.column_names, ("n", "s"))
    same(result.query_id != "", True)
    same("read_rows" in result.summary, True)


def types():
    client = connect()
    moment = datetime.datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=datetime.timezone.utc)
    row = [
        2**64 - 1,
        -5,
        1.5,
        "tab\t and ü",
        None,
        ["a", "b"],
        {"k": 1},
        (1, "x"),
        datetime.date(2026, 1, 2),
        moment,
        uuid.UUID(int=7),
        decimal.Decimal("1.25"),
        True,
        "low",
    ]
    names = [f"c{number}" for number in range(len(row))]
    client.insert("kinds", [row], column_names=names)
    # The client leaves UTC out of what it returns.
    row[names.index("c9")] = moment.replace(tzinfo=None)
    same(list(client.query("SELECT * FROM kinds").result_rows[0]), row)


def insert():
    client = connect()
    client.command("TRUNCATE TABLE t2")
    summary = client.insert("t2", [[1, "a"], [2, "b"]], column_names=["n", "s"])
    same(summary.written_rows, 2)
    same(client.query("SELECT n, s FROM t2 ORDER BY n").result_rows, [(1, "a"), (2, "b")])


def insert_df():
    client = connect()
    client.command("TRUNCATE TABLE t2")
    frame = pandas.DataFrame({"n": range(1000), "s": [f"x{n}" for n in range(1000)]})
    client.insert_df("t2", frame)
    same(client.command("SELECT count(), sum(n) FROM t2"), ["1000", "499500"])


def raw_insert():
    client = connect()
    client.command("TRUNCATE TABLE t2")
    client.raw_insert("t2", ["n", "s"], b"1,a\n2,b\n", fmt="CSV")
    same(client.command("SELECT sum(n) FROM t2"), 3)


def insert_compressed(coding):
    def check():
        client = connect(compress=coding)
        client.command("TRUNCATE TABLE t2")
        client.insert("t2", [[n, "y" * 50] for n in range(5000)], column_names=["n", "s"])
        same(client.command("SELECT sum(n) FROM t2"), 12497500)
        same(client.query("SELECT n FROM t2 ORDER BY n").row_count, 5000)

    return check


def query_np():
    column = connect().query_np("SELECT n FROM t ORDER BY n")
    same(column.shape, (ROWS, 1))
    same(int(numpy.sum(column)), ROWS * (ROWS - 1) // 2)


def query_df():
    frame = connect().query_df("SELECT n, s, toDateTime(n, 'UTC') AS at FROM t ORDER BY n")
    same(frame.shape, (ROWS, 3))
    same(int(frame["n"].sum()), ROWS * (ROWS - 1) // 2)
    same(frame["s"].iloc[-1], f"s{ROWS - 1}")


def streams():
    client = connect()
    seen = 0
    with client.query_row_block_stream("SELECT n FROM t") as stream:
        for block in stream:
            seen += len(block)
    same(seen, ROWS)
    with client.query_df_stream("SELECT n FROM t") as stream:
        same(sum(len(frame) for frame in stream), ROWS)
    with client.query_rows_stream("SELECT n FROM t") as stream:
        same(sum(1 for _ in stream), ROWS)


def stream_left():
    client = connect()
    with client.query_row_block_stream("SELECT number FROM numbers(50000000)") as stream:
        next(iter(stream))
    same(client.command("SELECT 1"), 1)


def stream_broken():
    client = connect(compress=False)
    sql = "SELECT throwIf(number = 3000000) FROM numbers(4000000)"

    def ask():
        with client.query_row_block_stream(sql) as stream:
            for _ in stream:
                pass

    refused(395, ask)
    refused(395, lambda: connect().query(sql))


def raw_query():
    client = connect()
    same(client.raw_query("SELECT 1 AS a", fmt="JSONEachRow"), b'{"a":1}\n')
    with client.raw_stream("SELECT number FROM numbers(100000)", fmt="TSV") as stream:
        same(len(stream.read()), 588890)


def settings():
    client = connect()
    same(client.command("SELECT getSetting('max_threads')", settings={"max_threads": 3}), 3)
    same(client.command("SELECT getSetting('max_threads')") != 3, True)
    own = connect(settings={"max_block_size": 777})
    same(own.command("SELECT getSetting('max_block_size')"), 777)


def sessions():
    client = connect()
    client.command("CREATE TEMPORARY TABLE own (n UInt8)")
    client.insert("own", [[7]], column_names=["n"])
    same(client.command("SELECT n FROM own"), 7)
    client.command("SET max_threads = 5")
    same(client.command("SELECT getSetting('max_threads')"), 5)
    refused(60, lambda: connect().command("SELECT n FROM own"))
    short = connect(session_id="short", settings={"session_timeout": 5})
    same(short.command("SELECT 1"), 1)


def parameters():
    client = connect()
    sql = "SELECT {n:UInt64} + 1, {s:String}, {a:Array(String)}, {d:DateTime('UTC')}"
    at = datetime.datetime(2026, 1, 2, 3, 4, 5)
    given = {"n": 41, "s": "a'b\\\t", "a": ["x'", "y"], "d": at}
    row = client.query(sql, parameters=given).result_rows[0]
    same(row[:3], (42, "a'b\\\t", ["x'", "y"]))
    same(row[3].replace(tzinfo=None), at)


def external():
    data = ExternalData(file_name="ids.csv", fmt="CSV", structure=["id UInt64"], data=b"3\n5\n")
    sql = "SELECT s FROM t WHERE n IN (SELECT id FROM ids) ORDER BY n"
    rows = connect().query(sql, external_data=data).result_rows
    same(rows, [("s3",), ("s5",)])


def errors():
    client = connect()
    refused(60, lambda: client.query("SELECT * FROM absent"))
    refused(62, lambda: client.command("SELEKT 1"))
    refused(47, lambda: client.query("SELECT absent FROM t"))
    try:
        clickhouse_connect.get_client(host=URL.hostname, port=URL.port, username="x", password="y")
    except DatabaseError as error:
        same("516" in str(error) or "AUTHENTICATION" in str(error), True)
    else:
        raise AssertionError("a stranger gets in")


def server():
    client = connect()
    same(client.ping(), True)
    same(client.server_version.startswith("26."), True)
    same(str(client.server_tz) in ("UTC", "Etc/UTC"), True)
    same(client.command("EXISTS TABLE t"), 1)


FEATURES = {
    "query": query,
    "types": types,
    "insert": insert,
    "insert_df": insert_df,
    "raw_insert": raw_insert,
    "compression zstd": insert_compressed("zstd"),
    "compression lz4": insert_compressed("lz4"),
    "compression gzip": insert_compressed("gzip"),
    "query_np": query_np,
    "query_df": query_df,
    "streaming": streams,
    "stream left before its end": stream_left,
    "error after the answer has begun": stream_broken,
    "raw_query, raw_stream": raw_query,
    "settings": settings,
    "sessions": sessions,
    "parameters": parameters,
    "external data": external,
    "errors": errors,
    "server and ping": server,
}


def main():
    for name, check in FEATURES.items():
        try:
            check()
            outcome = "ok"
        except Exception as error:  # Whatever it is, the table shall tell it.
            outcome = f"{type(error).__name__}: {error}".replace("\n", " ").replace("\t", " ")
        print(f"{name}\t{outcome}")
        sys.stdout.flush()


main()
