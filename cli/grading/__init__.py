"""Commands for grading: fields, and what observers judged of them."""
