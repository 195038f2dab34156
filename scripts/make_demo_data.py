"""Writes the demo's data sets again: python scripts/make_demo_data.py"""

from workloads.demo.data_sets import DATA, write

if __name__ == "__main__":
    write(DATA)
    print(f"wrote {DATA}")
