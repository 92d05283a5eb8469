"""Named recipes: functions that return a Config. Times are for two cores without matrix units; see the README's table."""

from collections.abc import Callable

from ancestral.config import (
    Config,
    DataSettings,
    DiffusionSettings,
    NetworkSettings,
    SamplingSettings,
    ScheduleSettings,
    TrainingSettings,
)


def digits() -> Config:
    """Handwritten digits, 8x8 grey, by class: two minutes."""
    return Config(
        data=DataSettings(source="digits"),
        network=NetworkSettings(widths=(64, 96), layers=1, attention=(1,), norm_groups=8),
        training=TrainingSettings(minutes=2, batch_size=64, lr=1e-3, warmup_images=6400, lr_schedule="cosine"),
    )


PRESETS: dict[str, Callable[[], Config]] = {"digits": digits}
