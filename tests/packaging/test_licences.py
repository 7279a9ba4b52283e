"""Dependencies: each is listed with its licence, and none is without an upper bound."""

import configparser
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.write_licences import LIST, ROOT, bill


def requirements():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    found = setup["options"]["install_requires"].split("\n")
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    return [Requirement(line) for line in [*found, *build] if line.strip() and not line.startswith("#")]


def test_what_is_installed_and_what_builds_has_an_upper_bound():
    open_ended = [r.name for r in requirements() if not any(s.operator in ("<", "==") for s in r.specifier)]
    assert not open_ended


def test_every_dependency_is_listed_with_its_licence():
    listed = {
        line.split("|")[1].strip(): line.split("|")[3].strip() for line in LIST.read_text().splitlines()[7:]
    }
    direct = {canonicalize_name(r.name) for r in requirements()}
    assert direct <= set(listed), "make licences"
    assert all(listed.values())


def test_the_bill_of_materials_has_a_version_and_a_licence_of_each():
    made = bill()
    names = {component["name"] for component in made["components"]}
    assert {canonicalize_name(r.name) for r in requirements()} <= names
    assert all(c["version"] in c["purl"] and c["licenses"] for c in made["components"])
