#!/usr/bin/env node
import { perform } from './base/program.ts'
import { addRunCommand } from './run.ts'

// Scripts call `run` often: it is built by itself, in CommonJS (see rolldown.config.js).
if (process.argv[2] === 'run') void perform(addRunCommand)
else void import('./every-command.ts')
