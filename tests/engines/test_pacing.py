"""Windows, streaks and pauses, without a server and without waiting."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from pytest_r1eval.engines.pacing import FIRST_WINDOW, Patience, Streak, Window, patience_from
from pytest_r1eval.errors import EngineError


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


async def epoch_of(window: Window) -> int:
    """Return the window's present epoch."""
    async with window.slot() as epoch:
        return epoch


class TestWindow:
    def test_doubles_with_every_window_of_answers_until_a_setback(self) -> None:
        """Before a setback the window grows by one with each answer, up to its maximum."""
        window = Window(maximum=10, first=4)
        limits = []
        for _ in range(8):
            window.widen()
            limits.append(window.limit)

        assert limits == [5, 6, 7, 8, 9, 10, 10, 10]

    def test_is_halved_once_for_all_that_were_under_way(self) -> None:
        """Requests that were under way together halve the window once when they fail."""

        async def narrowed() -> list[int]:
            window, limits = Window(maximum=64, first=64), []
            together = await epoch_of(window)
            for _ in range(5):
                window.narrow(together)
                limits.append(window.limit)
            window.narrow(await epoch_of(window))
            return [*limits, window.limit]

        assert asyncio.run(narrowed()) == [32, 32, 32, 32, 32, 16]

    def test_grows_by_one_for_a_window_of_answers_after_a_setback(self) -> None:
        """After a setback the window grows by one for each window of answers."""

        async def limits() -> tuple[int, int]:
            window = Window(maximum=64, first=20)
            window.narrow(await epoch_of(window))
            for _ in range(10):
                window.widen()
            early = window.limit
            for _ in range(2):
                window.widen()
            return early, window.limit

        assert asyncio.run(limits()) == (10, 11)

    def test_comes_back_quickly_after_an_outage(self) -> None:
        """Repeated setbacks close the window to one, and 31 answers reopen half of its former size."""

        async def limits() -> tuple[int, int]:
            window = Window(maximum=64, first=64)
            for _ in range(10):
                window.narrow(await epoch_of(window))
            closed = window.limit
            for _ in range(31):
                window.widen()
            return closed, window.limit

        assert asyncio.run(limits()) == (1, 32)

    def test_never_lets_more_in(self) -> None:
        """A window of three lets at most three tasks in at a time, and all twenty finish."""

        async def busiest() -> tuple[int, int]:
            window, n_busy, n_most, n_done = Window(maximum=3), 0, 0, 0

            async def work() -> None:
                nonlocal n_busy, n_most, n_done
                async with window.slot():
                    n_busy += 1
                    n_most = max(n_most, n_busy)
                    await asyncio.sleep(0)
                    n_busy -= 1
                    n_done += 1

            await asyncio.gather(*(work() for _ in range(20)))
            return n_most, n_done

        assert asyncio.run(busiest()) == (3, 20)

    def test_a_cancelled_waiter_passes_its_turn_on(self) -> None:
        """A waiting task that is cancelled as its turn comes passes the place to the next one."""

        async def last_gets_in() -> bool:
            window = Window(maximum=1)
            entered = asyncio.Event()

            async def enter() -> None:
                async with window.slot():
                    entered.set()

            async with AsyncExitStack() as stack:
                await stack.enter_async_context(window.slot())
                first, second = asyncio.create_task(enter()), asyncio.create_task(enter())
                await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait_for(second, 1)
            return entered.is_set()

        assert asyncio.run(last_gets_in())

    def test_starts_within_its_maximum(self) -> None:
        """A window starts at its maximum where that is below the usual start."""
        assert Window(maximum=8).limit == 8
        assert Window(maximum=10_000).limit == FIRST_WINDOW


class TestStreak:
    def test_is_too_long_only_after_both_many_and_long(self) -> None:
        """A streak of failures is too long only after both the number and the time are reached."""
        clock = Clock()
        many, few = (Streak(n_failures=3, patience_s=10, clock=clock) for _ in range(2))
        for _ in range(1000):
            many.fail()
        few.fail()
        assert (many.is_too_long, few.is_too_long) == (False, False)

        clock.now_s += 10
        assert (many.is_too_long, few.is_too_long) == (True, False)

    def test_an_answer_ends_it(self) -> None:
        """An answer resets a streak's number of failures and its time."""
        clock = Clock()
        streak = Streak(n_failures=1, patience_s=10, clock=clock)
        streak.fail()
        clock.now_s += 60
        streak.end()
        assert (streak.n_failures, streak.seconds) == (0, 0.0)

        streak.fail()
        assert not streak.is_too_long


class TestPatience:
    def test_pauses_grow_up_to_a_limit(self) -> None:
        """A pause is drawn from zero to a bound, which doubles with each failure up to a limit."""
        patience = Patience(first_pause_s=0.5, longest_pause_s=3)

        longest = [patience.pause_s(n, uniform=lambda _, high: high) for n in (1, 2, 3, 4, 5, 10_000)]
        shortest = [patience.pause_s(n, uniform=lambda low, _: low) for n in (1, 10_000)]

        assert longest == [0.5, 1, 2, 3, 3, 3]
        assert shortest == [0, 0]

    def test_is_set_by_engine_arguments(self) -> None:
        """Engine arguments set the client's patience, and what they leave out keeps its default."""
        found = patience_from({"patience_s": 5, "max_concurrent": 2}, default=Patience(timeout_s=7))

        assert found == Patience(patience_s=5, max_concurrent=2, timeout_s=7)

    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("max_num_seqs", 256, "the server engine does not know it; expected one of timeout_s, start_patience_s"),
            ("patience_s", 0, "--r1-engine-arg patience_s is 0; expected a number above 0"),
            ("patience_s", "long", "--r1-engine-arg patience_s is 'long'; expected a number above 0"),
            ("timeout_s", True, "--r1-engine-arg timeout_s is True; expected a number above 0"),
            ("timeout_s", float("inf"), "--r1-engine-arg timeout_s is inf; expected a number above 0"),
            ("max_concurrent", 1.5, "--r1-engine-arg max_concurrent is 1.5; expected a whole number above 0"),
        ],
    )
    def test_anything_else_is_refused(self, name: str, value: object, expected: str) -> None:
        """Unknown or impossible arguments of the server engine are refused."""
        with pytest.raises(EngineError) as caught:
            patience_from({name: value}, default=Patience())

        assert expected in str(caught.value)
