{
  "targets": [
    {
      "target_name": "pslock",
      "sources": ["pslock.c"],
      "cflags": ["-std=c11", "-O2", "-Wall", "-Wextra"],
      "xcode_settings": { "OTHER_CFLAGS": ["-std=c11", "-O2", "-Wall", "-Wextra"] }
    }
  ]
}
