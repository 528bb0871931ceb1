import { existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

/**
 * Whether a path is in the folder in which git keeps a repository: `.git`, a bare one, or one of a submodule. Git locks its
 * files by creating `<file>.lock`, and refuses as long as one is there.
 */
export function isInGitFolder(path: string): boolean {
  for (let current = resolve(path); ; current = dirname(current)) {
    if (current.endsWith('/.git') || isRepository(current)) return true
    if (current === dirname(current)) return false
  }
}

function isRepository(folder: string): boolean {
  return ['HEAD', 'objects', 'refs'].every((name) => existsSync(join(folder, name)))
}
