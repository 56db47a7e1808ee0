"""What the documentation site is made of besides hand-written pages: reference, command, state diagrams, navigation.

hook.py          what mkdocs calls: adds the made pages, lays out the navigation
navigation.py    sections in the order of the site; pages by the `order` of their front matter, then by name
"""
