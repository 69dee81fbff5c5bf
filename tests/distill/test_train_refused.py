"""What a training refuses before its first step, and before it keeps unmeasured weights."""

from types import SimpleNamespace

import pytest
import torch

from distill.config import Train
from distill.streams import Stream
from distill.task import Encoded
from distill.train import TrainingError, train

LONG = Encoded(tuple(range(40)), slice(0, 2), slice(2, 2), slice(2, 40))


@pytest.mark.parametrize("measured", [False, True])
def test_a_sequence_that_is_too_long_is_told_before_the_first_step(
    toy_model, sequences, tmp_path, measured
):
    """Its step may be hours away."""
    learnt, held_out = ([*sequences(64), LONG], [])[:: -1 if measured else 1]
    stream, options = Stream(learnt or sequences(64), 4), {"micro_tokens": 32, "lr": 0.01}
    if measured:
        options["validate_every"] = 50
    with pytest.raises(ValueError, match="has 40 tokens.*micro_tokens = 32.*raise it to 40"):
        train(
            toy_model(), [stream], Train(**options, checkpoint_every=1),
            validation=held_out, folder=tmp_path,
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_a_validation_that_is_no_number_is_an_error(toy_model, sequences):
    """Else the first weights would be the best for ever, as nothing is below NaN."""
    model = toy_model(tie_word_embeddings=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[63] = torch.nan
    odd = Encoded((1, 63, 2), slice(0, 2), slice(2, 2), slice(2, 3))
    learnt = [s for s in sequences(64) if 63 not in s.ids]
    with pytest.raises(TrainingError, match="validation NLL is nan at step 1"):
        train(model, [Stream(learnt, 4)], Train(validate_every=1, lr=1e-9), validation=[odd])


def test_a_sequence_beyond_the_positions_of_a_model_is_told(toy_model, sequences):
    model, learnt = toy_model(max_position_embeddings=32), [*sequences(8), LONG]
    with pytest.raises(ValueError, match="has 40 tokens, and the model was made for 32"):
        train(model, [Stream(learnt, 4)], Train())


@pytest.mark.parametrize(("n", "validated", "least"), [(17, 0, 5), (18, 4, 4)])
def test_a_step_with_too_few_for_the_processes_is_told_first(
    toy_model, sequences, n, validated, least
):
    """The third step of 17 in batches of 8 has 5, and its training would end there every time."""
    options = Train(batch=8, validate_every=2 if validated else None)
    six = SimpleNamespace(num_processes=6)
    with pytest.raises(ValueError, match=f"has {least} sequences for 6 processes"):
        train(
            toy_model(), [Stream(sequences(n), 8)], options,
            validation=sequences(validated), accelerator=six,
        )  # fmt: skip
