"""The configuration: one TOML file, one struct per table, every option with its default and its sentence.

    settings = load_settings(None, state)       # STATE/fancymail.toml, or defaults
    settings.queue.lease                        # a frozen struct per section
"""

from .catalog import Settings
from .load import SettingsError, load_settings, parse_settings
from .paths import Paths, run_directory
from .section import Section, say

__all__ = ["Paths", "Section", "Settings", "SettingsError", "load_settings", "parse_settings", "run_directory", "say"]
