"""How many cores a service needs: requests that come at random, worked on by so many cores. No server is asked.

python tests/benchmarks/sizing.py --users 1000000 --pictures-a-day 20 --cpu-ms 8
"""

import argparse
import heapq
import math
import random

DAY_S = 86_400
PEAK = 5  # a day's busiest hour over its mean
COUNT = 200_000  # requests of one simulation


def waits_s(rate: float, cores: int, work_s: float) -> list[float]:
    """Seconds that each request waits, sorted: Poisson arrivals, work spread as measured (half to twice)."""
    chance = random.Random(0)
    free = [0.0] * cores
    now = 0.0
    found = []
    for _ in range(COUNT):
        now += chance.expovariate(rate)
        begin = max(now, heapq.heappop(free))
        heapq.heappush(free, begin + work_s * chance.lognormvariate(-0.125, 0.5))
        found.append(begin - now)
    return sorted(found)


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--users", type=int, default=1_000_000)
    given.add_argument("--pictures-a-day", type=float, default=20)
    given.add_argument("--cpu-ms", type=float, default=8)
    options = given.parse_args()
    work_s = options.cpu_ms / 1000
    rate = options.users * options.pictures_a_day / DAY_S * PEAK
    print(f"{rate:,.0f} requests a second in the peak; {rate * work_s:,.1f} cores busy")
    shares = (0.5, 0.7, 0.85, 0.95)
    for cores in sorted({math.ceil(rate * work_s / share) for share in shares}):
        waits = waits_s(rate, cores, work_s)
        p50, p99 = (1000 * waits[int(COUNT * part)] for part in (0.5, 0.99))
        busy = rate * work_s / cores
        print(f"{cores:4} cores, {busy:.0%} busy: wait p50 {p50:6.1f} ms, p99 {p99:7.1f} ms")


if __name__ == "__main__":
    main()
