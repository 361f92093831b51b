"""The emulator's database: one SQLite file in WAL mode, one connection, shared by all planes.

A committed transaction survives kill -9 of the emulator (synchronous=NORMAL: only a power cut loses the newest).
Each plane owns its tables and creates them with `register_schema`; nobody touches another plane's tables.
A transaction is a plain `with` block and must contain no `await`: the connection belongs to the whole process.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runpod_emulator.errors import NewerState, StateUnusable

SCHEMA_VERSION = 1
"""Rises with every incompatible change of any plane's tables. A database with a higher one is refused."""

Row = sqlite3.Row
Parameters = Sequence[Any] | dict[str, Any]
TableRows = list[dict[str, Any]]


class Store:
    """A thin, thread-safe skin over one `sqlite3` connection. Rows answer to column names and to positions."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._lock = threading.RLock()
        self._depth = 0
        self.path = path

    @classmethod
    def connect(cls, path: Path) -> "Store":
        """Open or create the database. Raises NewerState or StateUnusable, both in one line."""
        connection = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600, exist_ok=True)
            path.chmod(0o600)  # it holds registry passwords and the workers' keys
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
            connection.row_factory = sqlite3.Row
            found = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if found > SCHEMA_VERSION:
                raise NewerState(path, found, SCHEMA_VERSION)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        except NewerState:
            if connection is not None:
                connection.close()
            raise
        except (sqlite3.Error, OSError) as error:
            if connection is not None:
                connection.close()
            raise StateUnusable(path, str(error)) from error
        return cls(connection, path)

    def register_schema(self, sql: str) -> None:
        """Run a script of `CREATE … IF NOT EXISTS` statements. Call it once per start, before the first query."""
        with self._lock:
            self._connection.executescript(sql)

    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """Run one statement; committed at once unless inside `transaction()`. Returns how many rows it changed."""
        with self._lock:
            return self._connection.execute(sql, parameters).rowcount

    def query(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        with self._lock:
            return self._connection.execute(sql, parameters).fetchall()

    def query_one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        with self._lock:
            row: Row | None = self._connection.execute(sql, parameters).fetchone()
            return row

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Nested blocks join the outer one. Never `await` inside."""
        with self._lock:
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._connection.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._connection.execute("COMMIT")

    def rows_of_all_tables(self) -> dict[str, TableRows]:
        """Everything that is stored, as plain values. At one moment: nothing else writes meanwhile."""
        with self._lock:
            return {
                table: [dict(row) for row in self.query(f"SELECT * FROM {table} ORDER BY rowid")]  # noqa: S608 - ours
                for table in self._tables()
            }

    def replace_all_rows(self, tables: dict[str, TableRows]) -> None:
        """Put these rows in place of all others. Inside a transaction, which the caller ends by raising what this
        raises: LookupError for tables or columns that are not the ones here, sqlite3.Error for values that do not fit.
        """
        here = self._tables()
        if sorted(tables) != here:
            raise LookupError(f"its tables are {', '.join(sorted(tables))}, here are {', '.join(here)}")
        self.execute("PRAGMA defer_foreign_keys=ON")
        for table in here:
            self.execute(f"DELETE FROM {table}")  # noqa: S608 - a name of ours
        for table, rows in tables.items():
            columns = [str(row["name"]) for row in self.query(f"PRAGMA table_info({table})")]
            for row in rows:
                if sorted(row) != sorted(columns):
                    raise LookupError(f"a row of {table} has the columns {', '.join(sorted(row))}")
            places = ", ".join(f":{column}" for column in columns)
            with self._lock:
                statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - names of ours
                self._connection.executemany(statement, rows)
        broken = self.query_one("PRAGMA foreign_key_check")
        if broken is not None:
            raise LookupError(f"a row of {broken['table']} belongs to one of {broken['parent']} that is missing")

    def _tables(self) -> list[str]:
        rows = self.query("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        return sorted(str(row["name"]) for row in rows)

    def close(self) -> None:
        with self._lock:
            self._connection.close()
