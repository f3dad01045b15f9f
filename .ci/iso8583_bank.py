"""A bank that is other people's software, for .ci/iso8583_shop.py: iso8583sim decides, haproxy is its front end with mutual TLS. Between the two a
wiretap of our own writes down every message that passed, read by pyiso8583, because iso8583sim keeps no book:

    Breakwater == TLS ==> haproxy --> wiretap --> iso8583sim

The wiretap listens once for every pair of front end and simulator, so that it knows which front end a message came through. What it heard of the
simulator stands as the bank's book, also when the front end was dead by then and the answer reached nobody.
"""
import asyncio
import pathlib
import sys
import threading

import iso8583
import stage
from iso8583_others import specification

VECTORS = stage.TOP / "tests/vectors/bank"
SPECIFICATION = specification("ascii_binary_bitmap")


class Message:
    """One message that asked, and what was answered. `name` is what its bank knows it by: STAN (11), transmission time (7), terminal (41)."""

    def __init__(self, fields, front_end):
        self.mti, self.fields, self.front_end = fields["t"], fields, front_end
        self.name = (fields.get("11"), fields.get("7"), fields.get("41"))
        # Type and field 39 of the answer, once the simulator has given it, and whether that went on to the front end.
        self.answer_mti, self.code, self.delivered = None, None, None

    def undoes(self):
        """The name of what a reversal is about, from its field 90: type (4), STAN (6), transmission time (10)."""
        original = self.fields["90"]
        return (original[4:10], original[10:20], self.fields.get("41"))


class Wiretap:
    """Hears everything between the front ends and the simulators."""

    def __init__(self):
        self.heard, self.faults = [], []
        # Front ends behind which everything that comes is swallowed.
        self.mute = set()
        # Types and amounts (fields 0 and 4) whose answer is heard, and lost once on its way.
        self.lose_once = set()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def between(self, front_end, simulator):
        """A port on which what comes from `front_end` goes on to the simulator at that port."""
        async def serve():
            server = await asyncio.start_server(lambda reader, writer: self._connected(front_end, simulator, reader, writer), "127.0.0.1", 0)
            return server.sockets[0].getsockname()[1]

        return asyncio.run_coroutine_threadsafe(serve(), self._loop).result(10)

    async def _connected(self, front_end, simulator, reader, writer):
        try:
            host_reader, host_writer = await asyncio.open_connection("127.0.0.1", simulator)
        except OSError:
            writer.close()
            return
        # What was asked on this connection and not answered yet: words about connections have no terminal's name.
        waiting, gone = {}, asyncio.Event()
        back = asyncio.ensure_future(self._answers(host_reader, writer, waiting, gone))
        try:
            while True:
                frame = await self._frame(reader)
                message = Message(self._read(frame), front_end)
                self.heard.append(message)
                if front_end not in self.mute:
                    waiting[(message.mti[:2], *message.name)] = message
                    host_writer.write(frame)
        except (OSError, asyncio.IncompleteReadError):
            # The front end is gone. What the simulator still answers is heard, and delivered to nobody.
            gone.set()
            await asyncio.wait([back], timeout=3)
        except Exception as fault:
            self.faults.append(fault)
        finally:
            back.cancel()
            host_writer.close()
            writer.close()

    async def _answers(self, reader, writer, waiting, gone):
        try:
            while True:
                frame = await self._frame(reader)
                answer = self._read(frame)
                asked = waiting.pop((answer["t"][:2], answer.get("11"), answer.get("7"), answer.get("41")), None)
                if asked is None:
                    raise AssertionError(f"the simulator answered what nobody asked: {answer}")
                asked.answer_mti, asked.code = answer["t"], answer.get("39")
                kind = (asked.mti, answer.get("4"))
                asked.delivered = not gone.is_set() and kind not in self.lose_once
                self.lose_once.discard(kind)
                if asked.delivered:
                    writer.write(frame)
        except (OSError, asyncio.IncompleteReadError):
            pass
        except Exception as fault:
            self.faults.append(fault)

    @staticmethod
    async def _frame(reader):
        length = await reader.readexactly(2)
        return length + await reader.readexactly(int.from_bytes(length, "big"))

    @staticmethod
    def _read(frame):
        return iso8583.decode(frame[2:], SPECIFICATION)[0]

    def money(self):
        """What was heard, without words about the connection."""
        return [message for message in list(self.heard) if message.mti[:2] != "08"]


def simulator(rules):
    """iso8583sim, which stands beside this Python; its port."""
    port, home = stage.free_port(), stage.folder("bw-iso-")
    (home / "rules.json").write_text(rules)
    program = pathlib.Path(sys.executable).parent / "iso8583sim"
    command = [program, "serve", "-p", port, "--rules", home / "rules.json", "--format", "ascii-binary", "--header", "2b"]
    process = stage.Process("iso8583sim", command)
    process.until_port(port)
    return port


class FrontEnd:
    """An haproxy with the bank's certificate that lets in whom the bank's authority knows, and hands on to those ports in turn."""

    def __init__(self, name, wiretap, simulators):
        self.name, self.port, self.home = name, stage.free_port(), stage.folder("bw-front-")
        (self.home / "front.pem").write_text((VECTORS / "bank.pem").read_text() + (VECTORS / "bank.key").read_text())
        hosts = "\n".join(f"    server host{place} 127.0.0.1:{wiretap.between(name, one)}" for place, one in enumerate(simulators))
        (self.home / "cfg").write_text(f"""global
    maxconn 256
defaults
    mode tcp
    timeout connect 2s
    timeout client 10m
    timeout server 10m
frontend bank
    bind 127.0.0.1:{self.port} ssl crt {self.home}/front.pem ca-file {VECTORS}/authority.pem verify required ssl-min-ver TLSv1.2
    default_backend hosts
backend hosts
    balance roundrobin
{hosts}
""")
        self.start()

    @property
    def address(self):
        return f"tls://127.0.0.1:{self.port}"

    def start(self):
        self.process = stage.Process(f"haproxy {self.name}", ["haproxy", "-f", self.home / "cfg"])
        self.process.until_port(self.port)
