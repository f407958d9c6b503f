"""Human-readable sizes and durations."""


def byte_size(n: float) -> str:
    """Format a number of bytes: 1.5 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "bytes" or n >= 100 else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def duration(seconds: float) -> str:
    """Format a duration: 1:02:03, or 2 d 1:02:03."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    return f"{days} d {h}:{m:02}:{s:02}" if days else f"{h}:{m:02}:{s:02}"
