"""The checker that jaxtyping runs on every annotated function during tests: beartype, with int accepted as float."""

from beartype import BeartypeConf, beartype

checker = beartype(conf=BeartypeConf(is_pep484_tower=True))
