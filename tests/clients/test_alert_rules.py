"""promtool accepts the alert rules, their tests, and the queries of the dashboard."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from service.drift_metrics import DriftCollector
from service.metrics import Metrics
from tests.clients.conftest import ROOT

COMPOSE = ROOT / "deploy/compose"
RULES, DASHBOARD = COMPOSE / "alerts.yml", COMPOSE / "grafana.json"


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts() -> dict[str, str]:
    """The expressions of the alert rules by name."""
    return dict(re.findall(r"alert: (\w+)\n\s+expr: (?:\|\n)?(.+?)\n\s+for:", RULES.read_text("utf-8"), re.DOTALL))


def panels() -> dict[str, str]:
    """The queries of the dashboard by panel."""
    drawn = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return {f"{panel['title']} {target['refId']}": target["expr"] for panel in drawn for target in panel["targets"]}


def test_the_alert_rules_pass_their_tests() -> None:
    assert f"SUCCESS: {len(alerts())} rules" in promtool("check", "rules", RULES)
    assert "SUCCESS" in promtool("test", "rules", COMPOSE / "alerts_test.yml")


def test_changed_alert_rule_fails_its_test(tmp_path: Path) -> None:
    text = RULES.read_text("utf-8")
    (tmp_path / "alerts.yml").write_text(text.replace("tabserve_drift_status) == 2", "tabserve_drift_status) == 3"))
    (tmp_path / "alerts_test.yml").write_bytes((COMPOSE / "alerts_test.yml").read_bytes())
    with pytest.raises(AssertionError, match="TabserveDrift"):
        promtool("test", "rules", tmp_path / "alerts_test.yml")


def test_each_alert_rule_has_a_test() -> None:
    tested = set(re.findall(r"alertname: (\w+)", (COMPOSE / "alerts_test.yml").read_text("utf-8")))
    assert tested == alerts().keys()


@pytest.mark.parametrize("queries", [alerts, panels])
def test_rules_and_panels_query_metrics_that_exist(queries: object) -> None:
    assert callable(queries)
    families = [*Metrics().registry.collect(), *DriftCollector(()).collect()]
    measured = {family.name for family in families}
    for title, expression in queries().items():
        for name in re.findall(r"tabserve_\w+", expression):
            assert re.sub("_(total|bucket|sum|count)$", "", name) in measured, f"{title}: {name} does not exist"


def test_promtool_parses_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    queries = [query.replace("$__rate_interval", "1m").replace("$model", "housing") for query in panels().values()]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"SUCCESS: {len(rules)} rules" in promtool("check", "rules", tmp_path / "panels.yml")


def test_panels_do_not_overlap() -> None:
    seen: dict[tuple[int, int], str] = {}
    drawn = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in drawn}) == len(drawn)
    for panel in drawn:
        x, y, width, height = (panel["gridPos"][name] for name in "xywh")
        assert x + width <= 24, panel["title"]
        for cell in [(column, row) for column in range(x, x + width) for row in range(y, y + height)]:
            assert seen.setdefault(cell, panel["title"]) == panel["title"]
