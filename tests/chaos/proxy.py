"""A TCP proxy that ill-treats what passes through: answers that come late, or never, bytes lost, connections cut.

One event loop in a thread of its own. It knows nothing of Kafka.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Self

from tests.broker import free_port

_CHUNK = 65_536
_HARD_CLOSE = struct.pack("ii", 1, 0)  # linger 0: the peer gets a reset


class Proxy:
    """Listens on `port` of 127.0.0.1 and passes on to `upstream_port`, as long as it is entered."""

    def __init__(self) -> None:
        self.port = free_port()
        self.upstream_port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._delay_s = 0.0
        self._is_dropping = False
        self._answering: asyncio.Event | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def delay(self, seconds: float) -> None:
        """Every answer takes so much longer; 0 = none."""
        self._delay_s = seconds

    def withhold_answers(self) -> None:
        """Requests arrive, answers do not: who waits for one learns nothing of what was done."""
        self._do(self._set_answering(on=False))

    def give_answers(self) -> None:
        """Answers that were withheld arrive now, late."""
        self._do(self._set_answering(on=True))

    def drop(self) -> None:
        """Nothing arrives any more, in either direction, and nobody is told."""
        self._is_dropping = True

    def reset(self) -> None:
        """Cut every connection, hard."""
        self._do(self._reset())

    def heal(self) -> None:
        """Pass everything on again."""
        self.delay(0.0)
        self.give_answers()
        if self._is_dropping:
            self._is_dropping = False
            self.reset()  # a stream with a hole in it is none

    def _do(self, what: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(60)  # an event loop's turn, on a busy machine

    async def _listen(self) -> None:
        self._answering = asyncio.Event()
        self._answering.set()
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", self.port)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._reset()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _set_answering(self, *, on: bool) -> None:
        if self._answering is not None:
            (self._answering.set if on else self._answering.clear)()

    async def _reset(self) -> None:
        for writer in list(self._writers):
            with contextlib.suppress(OSError):  # it is closed already
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _HARD_CLOSE)
            writer.transport.abort()

    async def _pass_on(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        try:
            broker_in, broker_out = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        except OSError:  # the broker is down
            client_out.transport.abort()
            return
        writers = {client_out, broker_out}
        self._writers |= writers
        await asyncio.gather(self._requests(client_in, broker_out), self._answers(broker_in, client_out))
        self._writers -= writers

    async def _requests(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while chunk := await source.read(_CHUNK):
                await self._hand_over(chunk, target)
        except OSError:
            pass
        finally:
            target.close()

    async def _answers(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while chunk := await source.read(_CHUNK):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                if self._answering is not None:
                    await self._answering.wait()
                await self._hand_over(chunk, target)
        except OSError:
            pass
        finally:
            target.close()

    async def _hand_over(self, chunk: bytes, target: asyncio.StreamWriter) -> None:
        if not self._is_dropping:
            target.write(chunk)
            await target.drain()
