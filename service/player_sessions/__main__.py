from player_sessions.cli import main

main()
