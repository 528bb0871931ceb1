import { createRequire } from 'node:module'
import { join } from 'node:path'

/** As much of better-sqlite3 as is used. */
interface Sqlite {
  new (
    file: string,
    options: { readonly timeout?: number; readonly readonly?: boolean },
  ): {
    pragma(text: string): unknown
    exec(text: string): void
    prepare(text: string): { run(...values: unknown[]): void; get(): { found: number } }
    close(): void
  }
}

/** Of the project that the demo is started in, or of the one that pslock is installed in. It is no dependency of ours. */
function sqliteFile(): string | undefined {
  for (const from of [join(process.cwd(), 'package.json'), import.meta.url]) {
    try {
      return createRequire(from).resolve('better-sqlite3')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error
    }
  }
  return undefined
}

export const hasSqlite = (): boolean => sqliteFile() !== undefined

export function sqlite(): Sqlite {
  const file = sqliteFile()
  if (file === undefined)
    throw new Error('better-sqlite3 is not installed in this folder: npm install better-sqlite3')
  return createRequire(import.meta.url)(file)
}
