"""What several models have at one place is one draw: models of one recipe scatter alike."""

import numpy as np
from calibration.norms import ALL, QV, Shape, Study, hot, t5, tower

from tunescope.questions.norms.findings import place_findings

METRIC = "frobenius_norm_normalized"


def test_checkpoints_of_one_run_have_no_hot_weight_only_since_each_repeats_it() -> None:
    # One draw of heavy cells, the same in twelve models but for a little noise.
    studies = 60
    raised = [
        Study(Shape(24, QV, 12, cell=0.25, layer=0.0, common=0.99, law=t5))(np.random.default_rng(seed))
        for seed in range(studies)
    ]
    assert sum("hot_cell" in kinds for kinds in raised) <= 0.1 * studies


def test_one_hot_weight_in_one_of_several_models_names_that_model_alone() -> None:
    random = np.random.default_rng(3)
    tables = Shape(24, models=3, layer=0.1, cell=0.1).tables(random)
    hot(random, tables[1], ALL)
    models = {f"m{m}": [tower(logs, ALL)] for m, logs in enumerate(tables)}
    (finding,) = [f for f in place_findings(models, METRIC) if f.kind == "hot_cell"]
    assert finding.models == ("m1",)
    assert len(finding.components) == 1


def test_one_hot_weight_that_all_models_have_is_one_finding_of_all() -> None:
    random = np.random.default_rng(4)
    tables = Shape(12, models=6, layer=0.1, cell=0.2).tables(random)
    for logs in tables:
        logs[5, 2] += np.log(4)
    models = {f"m{m}": [tower(logs, ALL)] for m, logs in enumerate(tables)}
    (finding,) = [f for f in place_findings(models, METRIC) if f.kind == "hot_cell"]
    assert finding.models == tuple(models)
    assert finding.components == (f"L5_{ALL[2]}",)
