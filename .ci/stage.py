"""The stage on which third parties meet Breakwater: packages of a pinned version, processes that end with the script that started them, a private
PostgreSQL, and Breakwater and its sandbox on ports that were free. .ci/stripe, .ci/webhooks, .ci/readme and others play on it.

What it keeps to. Packages lie under target/third-party and are fetched once: a list that has changed is fetched anew. Nothing listens beyond
127.0.0.1, no port is fixed, and what was started is ended by its process id, last started first, also when the script fails or is told to stop.
A check that fails ends the script with exit code 1, one line that says what was expected, and the tail of what the processes wrote.
"""
import atexit
import http.server
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import venv

TOP = pathlib.Path(__file__).resolve().parent.parent
HOME = TOP / "target/third-party"
# Node, where the machine has none that is new enough: .ci/setup --third-parties puts it there.
if (HOME / "node/bin/npm").exists():
    os.environ["PATH"] = f"{HOME / 'node/bin'}:{os.environ['PATH']}"
# For whatever starts on this machine; generous, because the machine may be compiling.
PATIENCE_S = 60

_running = []
_folders = []


def say(text):
    print(text, flush=True)


def fail(why):
    say(f"FAILED {why}")
    for process in _running:
        tail = process.log.read_text(errors="replace")[-2000:] if process.log.exists() else ""
        if tail:
            say(f"--- the end of {process.name}'s log\n{tail}")
    sys.exit(1)


def check(condition, what, seen=None):
    """One line a check: `ok` and what holds, or the end of the script."""
    if not condition:
        fail(what if seen is None else f"{what}; seen: {seen}")
    say(f"ok     {what}")


def breakwater():
    """The program under test: BREAKWATER, or the one that was built last."""
    if os.environ.get("BREAKWATER"):
        return os.environ["BREAKWATER"]
    built = [path for path in (TOP / "target/release/breakwater", TOP / "target/debug/breakwater") if path.exists()]
    return str(max(built, key=lambda path: path.stat().st_mtime)) if built else sys.exit("build breakwater first: cargo build")


def _fetched(folder, packages, fetch):
    """Runs `fetch` unless exactly these packages are in the folder already. Half a folder is never taken for a whole one."""
    stamp = folder / "packages"
    wanted = "\n".join(packages) + "\n"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        fetch()
        stamp.write_text(wanted)
    return folder


def _run_quietly(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"this failed: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def python(name, packages):
    """A Python that has these packages, each `name==version`."""
    folder = HOME / f"{name}-python"

    def fetch():
        venv.create(folder, with_pip=True)
        _run_quietly([folder / "bin/python", "-m", "pip", "install", "--quiet", *packages])

    return str(_fetched(folder, packages, fetch) / "bin/python")


def node(name, packages):
    """A folder whose node_modules has these packages, each `name@version`."""
    folder = HOME / f"{name}-node"

    def fetch():
        (folder / "package.json").write_text('{"private": true}\n')
        _run_quietly(["npm", "install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "--loglevel=error", *packages], cwd=folder)

    return _fetched(folder, packages, fetch)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def folder(prefix="bw-"):
    """A folder that is gone after the script; short, because a PostgreSQL's socket has to fit into 107 bytes. Other users may pass through it."""
    made = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    made.chmod(0o755)
    _folders.append(made)
    return made


class Process:
    """A program that runs until it is stopped, or the script ends. Its standard error, and output unless it is read, are in `log`. Of a shell,
    the `whole_group` is told to stop, as by Ctrl-C: what it runs would outlive it."""

    def __init__(self, name, command, read_output=False, whole_group=False, **more):
        self.name, self.whole_group = name, whole_group
        self.log = folder("bw-log-") / "log"
        with open(self.log, "w") as log:
            output = subprocess.PIPE if read_output else log
            # A group of its own: Ctrl-C is for the script, which then ends everything in order.
            self.child = subprocess.Popen([str(part) for part in command], stdout=output, stderr=log, text=True, start_new_session=True, **more)
        _running.append(self)

    def line(self):
        """The next line of its output."""
        return self.child.stdout.readline() or fail(f"{self.name} ended before it was ready")

    def until(self, ready, what):
        """What `ready` answers, once it answers something."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if self.child.poll() is not None:
                fail(f"{self.name} ended with {self.child.returncode} before {what}")
            if found := ready():
                return found
            time.sleep(0.05)
        fail(f"{self.name}: not {what} after {PATIENCE_S} s")

    def until_port(self, port):
        def open_now():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        self.until(open_now, "listening")

    def stop(self, how=signal.SIGTERM):
        if self in _running:
            _running.remove(self)
        if self.child.poll() is None:
            if self.whole_group:
                os.killpg(self.child.pid, how)
            else:
                self.child.send_signal(how)
            try:
                self.child.wait(40)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        return self.child.returncode


@atexit.register
def _end():
    for process in list(reversed(_running)):
        process.stop()
    for made in _folders:
        shutil.rmtree(made, ignore_errors=True)


# Told to stop, it stops what it started.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def postgres_programs():
    """The folder of PostgreSQL's programs, looked for where the demo looks (src/cluster/find.rs)."""
    on_path = shutil.which("postgres")
    folders = [os.environ.get("BREAKWATER_PG_BIN"), on_path and os.path.dirname(on_path)]
    folders += sorted(map(str, pathlib.Path("/usr/lib/postgresql").glob("*/bin")), key=lambda path: -int(path.split("/")[4]))
    for candidate in filter(None, folders):
        if all(os.path.exists(os.path.join(candidate, name)) for name in ("initdb", "postgres", "psql")):
            return candidate
    sys.exit("there are no programs of PostgreSQL here: run .ci/setup")


def not_root():
    """As whom a PostgreSQL can run, for subprocess: it refuses root."""
    if os.getuid() != 0:
        return {}
    entry = pwd.getpwnam("postgres")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class Postgres:
    """A private server that listens at a socket only; its data end with the script."""

    def __init__(self):
        self.home = folder("bw-pg-")
        someone = not_root()
        if someone:
            os.chown(self.home, someone["user"], someone["group"])
        programs = postgres_programs()
        _run_quietly([f"{programs}/initdb", "-D", self.home / "data", "-U", "breakwater", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"], cwd="/", **someone)
        command = [f"{programs}/postgres", "-D", self.home / "data", "-k", self.home, "-h", "", "-c", "fsync=off", "-c", "shared_buffers=16MB"]
        self.process = Process("postgres", command, cwd="/", **someone)
        ask = [f"{programs}/psql", "-X", "-q", "-h", self.home, "-U", "breakwater", "-d", "postgres", "-c"]
        self.process.until(lambda: subprocess.run([*ask, "select 1"], capture_output=True, cwd="/").returncode == 0, "answering")
        _run_quietly([*ask, "create database shop"], cwd="/")
        self.url = f"postgresql:///shop?host={self.home}&user=breakwater"


class Sandbox:
    """`breakwater sandbox` with the one account `shop`."""

    SECRET_KEY, WEBHOOK_SECRET = "sk_test_shop", "whsec_shop"

    def __init__(self, notify_url=None):
        account = f"id=shop,secret_key={self.SECRET_KEY},webhook_secret={self.WEBHOOK_SECRET}"
        command = [breakwater(), "sandbox", "--data-dir", folder("bw-sb-"), "--account", account]
        self.process = Process("sandbox", command + (["--notify-url", notify_url] if notify_url else ["--no-notifications"]), read_output=True)
        ready = json.loads(self.process.line())
        self.control, self.address = ready["control_url"], ready["channels"]["shop"]


class Installation:
    """`breakwater serve` on a PostgreSQL of its own, with one merchant. `channels` is the settings file's part about channels."""

    def __init__(self, channels, settings="", environment={}):
        self.database = Postgres()
        self.home = folder()
        self.environment = {"PATH": os.environ["PATH"], "BREAKWATER_DATABASE_URL": self.database.url, **environment}
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        head = f'[server]\nlisten = "127.0.0.1:{port}"\noperations_on_main = true\n'
        (self.home / "breakwater.toml").write_text(head + settings + channels)
        self.command("migrate")
        self.command("merchants", "add", "Shop")
        self.key = self.command("keys", "add", "Shop").strip()
        self.operator = self.command("operators", "add", "--role", "admin", "ada").strip()
        self.start()

    def start(self):
        self.process = Process("breakwater", [breakwater(), "serve", "--config", self.home / "breakwater.toml"], env=self.environment)
        self.process.until(lambda: self.ask("GET", "/readyz")[0] == 200, "ready")

    def command(self, *arguments):
        done = subprocess.run([breakwater(), *arguments], env=self.environment, cwd=self.home, capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else fail(f"breakwater {' '.join(arguments)}: {done.stderr}")

    def ask(self, method, path, body=None, key=None, token=None):
        """Status and body (as JSON) of a request; 0 where there is no answer yet."""
        headers = {"Authorization": f"Bearer {token or self.key}", "Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        return ask(method, self.url + path, json.dumps(body) if body is not None else None, headers)

    def metric(self, name, **labels):
        """A figure of /metrics; 0 where there is no such series."""
        text = self.ask("GET", "/metrics", token=self.operator)[1]
        for line in text.splitlines():
            if line.startswith(name + "{") and all(f'{label}="{value}"' in line for label, value in labels.items()):
                return float(line.rsplit(" ", 1)[1])
        return 0.0

    def pay(self, order, amount=1250, token="pm_card_visa", **more):
        method = {"type": "card_token", "token": token}
        return self.ask("POST", "/v1/payments", {"amount": amount, "currency": "CNY", "merchant_order_id": order, "payment_method": method, **more}, key=order)


def ask(method, url, body=None, headers={}):
    """Status and body (as JSON where it is) of a request over HTTP; 0 where nobody answers."""
    request = urllib.request.Request(url, body.encode() if isinstance(body, str) else body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, content = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, content = error.code, error.read()
    except OSError:
        return 0, None
    try:
        return status, json.loads(content)
    except ValueError:
        return status, content.decode(errors="replace")


class Receiver:
    """A listener that answers 200 to every POST and keeps what came, as it came: {"path", "headers" (names in lower case), "body" (bytes)}."""

    def __init__(self):
        kept = self.kept = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                kept.append({"path": self.path, "headers": {name.lower(): value for name, value in self.headers.items()}, "body": body})
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, wanted, what):
        """The first delivery for which `wanted` holds, once it is there."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            for delivery in list(self.kept):
                if wanted(delivery):
                    return delivery
            time.sleep(0.05)
        fail(f"nobody delivered {what} within {PATIENCE_S} s")


def judge(interpreter, text, name, *arguments, cwd=None):
    """Runs a third party's judgement, written in its own language, and ends the script when it finds a fault. A judge in JavaScript lies beside its
    packages, where an import finds them."""
    place = pathlib.Path(cwd) if cwd else folder("bw-judge-")
    file = place / name
    file.write_text(text)
    done = subprocess.run([interpreter, str(file), *map(str, arguments)], cwd=place, capture_output=True, text=True, timeout=300)
    sys.stdout.write(done.stdout)
    if done.returncode != 0:
        fail(f"{name} found a fault\n{done.stderr[-4000:]}")


class Block:
    """A fenced block of the README: its language, text, first line, section (the nearest heading), and what a comment `<!-- .ci: … -->` just
    before it says to the scripts here."""

    def __init__(self, language, text, line, section, says):
        self.language, self.text, self.line, self.section, self.says = language, text, line, section, says


def readme_blocks():
    """Every fenced block of the README, in order."""
    blocks, section, says, inside = [], "", "", None
    for number, line in enumerate((TOP / "README.md").read_text().splitlines(keepends=True), 1):
        if inside is not None:
            if line.startswith("```"):
                blocks.append(Block(*inside[:1], "".join(inside[2]), inside[1], section, says))
                inside, says = None, ""
            else:
                inside[2].append(line)
        elif line.startswith("```"):
            inside = (line[3:].strip(), number + 1, [])
        elif line.startswith("#"):
            section, says = line.lstrip("#").strip(), ""
        elif line.startswith("<!-- .ci: "):
            says = line.removeprefix("<!-- .ci: ").strip().removesuffix("-->").strip()
        elif line.strip():
            says = ""
    if inside is not None:
        fail("README.md: a block is not closed")
    return blocks
