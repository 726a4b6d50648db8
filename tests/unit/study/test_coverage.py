import polars as pl

from tunescope.study.coverage import coverage_lines


def test_what_was_not_used_is_counted_with_its_reason_behind() -> None:
    left = [("bias, needs base", 3), ("saved whole; not in the base", 1)]
    rows = [("m", "used", None, 4)] * 2 + [
        ("m", "not used", why, 4) for why, count in left for _ in range(count)
    ]
    frame = pl.DataFrame(rows, schema=["model_id", "status", "reason", "bytes"], orient="row")
    assert coverage_lines(frame) == [
        "- m: 2 of 6 tensors (0.0 kB of 0.0 kB) were used; not used: 3 (bias, needs base), "
        "1 (saved whole; not in the base)."
    ]
