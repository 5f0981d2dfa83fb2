"""Figures: well-formed, with all lines and points in sight."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from bench import figures
from bench.figures import Axis, Series, chart

SERIES = [Series("Postfix", [(1000, 1800, 1700, 1900), (1_000_000, 9000, 8000, 12_000)]),
          Series("A & B", [(1000, 200, 190, 210), (1_000_000, 900, 900, 900)])]
SVG = "{http://www.w3.org/2000/svg}"


def test_it_is_well_formed_and_complete():
    root = ElementTree.fromstring(chart("Cost & size", "octets", "us", SERIES))
    assert len(root.findall(f"{SVG}polyline")) == 2 and len(root.findall(f"{SVG}circle")) == 4
    assert {"Cost & size", "A & B", "1k", "1M"} <= {text.text for text in root.iter(f"{SVG}text")}


def test_all_points_are_in_sight():
    places = [float(value) for value in re.findall(r'c[xy]="([0-9.]+)"', chart("t", "x", "y", SERIES))]
    assert places and all(0 < place < figures.WIDTH for place in places)


def test_the_same_figures_give_the_same_octets():
    assert chart("t", "x", "y", SERIES) == chart("t", "x", "y", SERIES)


def test_ten_times_more_is_as_far_everywhere():
    axis = Axis(1, 1000, 0, 300)
    assert abs((axis.place(100) - axis.place(10)) - (axis.place(1000) - axis.place(100))) < 1e-6


def test_one_value_is_no_division_by_zero():
    assert chart("t", "x", "y", [Series("a", [(5, 7, 7, 7)])]).startswith("<svg")
