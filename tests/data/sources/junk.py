"""What annotation files hold in place of what is meant: strategies of the property tests."""

from hypothesis import strategies as st

# Of XML 1.0, with what pretty-printers, spreadsheets and other keyboards put into names.
LETTERS = st.one_of(
    st.sampled_from("aAß éÉ\u0301\u00a0\u200b\u200d\u3000\t\n猫к\ufeff.-_&<>'\""),
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"),
)
NAMES = st.text(LETTERS, min_size=1, max_size=8)
# What is written in place of a number, a flag or an id.
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(LETTERS, max_size=6),
    st.sampled_from(["1,5", "nan", "inf", "-", "0x9", "1e999", "1_0", "٣"]),
)
VALUES = st.recursive(
    JUNK,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
"""Anything that JSON can hold."""
