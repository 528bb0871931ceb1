import { statSync, writeFileSync } from 'node:fs'
import { errnoOf } from '../errors.ts'

/** Keeps bytes that are about to leave a file in `<file>.<kind>-<n>`: evidence is never erased. @returns the name */
export function keepAside(path: string, kind: 'torn' | 'corrupt', bytes: Buffer): string {
  const mode = (statSync(path, { throwIfNoEntry: false })?.mode ?? 0o600) & 0o666
  for (let n = 1; ; n++) {
    const name = `${path}.${kind}-${n}`
    try {
      writeFileSync(name, bytes, { flag: 'wx', flush: true, mode })
      return name
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST' || n > 9999) throw error
    }
  }
}
