import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { EXIT } from './exit-codes.ts'
import { failed } from './failed.ts'
import { interrupted } from './interruption.ts'
import { harmlessLines, print, writeOut } from './output.ts'

/** Does what the command line says. @param addCommands adds those that it may be */
export async function perform(addCommands: (root: Command) => void): Promise<void> {
  const root = new Command('pslock')
    .description('A lock between processes on any file, and process-safe embedded databases.')
    .version(packageVersion())
    .exitOverride()
    .configureOutput({ writeOut, writeErr: (text) => print(harmlessLines(text)) })
    .showHelpAfterError('(pslock --help, or pslock <command> --help, says what there is)')
  addCommands(root)
  try {
    await root.parseAsync()
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : EXIT.usage
    else if (!interrupted.aborted) {
      failed(error)
    }
  }
}

function packageVersion(): string {
  const above = import.meta.url.endsWith('.ts') ? '../package.json' : '../../package.json'
  return (JSON.parse(readFileSync(new URL(above, import.meta.url), 'utf8')) as { version: string }).version
}
