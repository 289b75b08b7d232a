"""Running a server: its addresses, its signals, its end, its log and its status line."""
