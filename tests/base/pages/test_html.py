from wsi_idc.base.pages.html import page, table


def test_a_title_is_text_and_a_body_is_html():
    made = page("a < b", "<p>c</p>")
    assert "<title>a &lt; b</title>" in made and "<h1>a &lt; b</h1>\n<p>c</p>" in made
    assert "http" not in made


def test_a_table_has_a_row_for_each():
    assert table(["", "n"], [["x", "1"], ["y", "2"]]).count("<tr>") == 3
