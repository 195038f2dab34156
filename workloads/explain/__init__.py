"""Why a run stands where it stands: evidence in, one cause with its next step out. Pure."""
