from scripts.make_measures import PAGE, TABLES, page


def test_the_page_of_measures_is_what_the_schemas_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m scripts.make_measures"


def test_every_column_has_a_meaning() -> None:
    for name, _, schema in TABLES:
        assert all(column.meaning for column in schema.values()), name
