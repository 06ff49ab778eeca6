"""The interactive menu: what can be done (`desk`), how it is asked, and how it is drawn."""
