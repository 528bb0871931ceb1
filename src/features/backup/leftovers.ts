import { constants, readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { errnoOf } from '../../errors.ts'
import { closeLocked, tryFlock } from '../../os/flock.ts'
import { openFile } from '../../os/open-files.ts'
import { ASIDE } from '../../os/replace.ts'
import type { Finding } from './finding.ts'

/**
 * What others have left beside a data file: temp files of writers that died, and what was kept aside. Called under the
 * file's lock, when nobody writes it; the temp file of a dump, which is made without that lock, is locked itself.
 * @param path the real one
 */
export function leftoversOf(path: string): Finding[] {
  const folder = dirname(path)
  const name = basename(path)
  const findings: Finding[] = []
  for (const other of readdirSync(folder).sort()) {
    const file = join(folder, other)
    if (isTemp(name, other)) {
      if (isInUse(file)) continue
      findings.push({
        what: 'leftover',
        message: 'the temp file of a writer that did not finish',
        mend: '`pslock repair` puts it aside. Without the data file NeDB would take a `~` file for it.',
        file,
      })
    } else if (isAside(name, other)) {
      findings.push({
        what: 'kept-aside',
        message: 'evidence that was kept when the file was mended or restored',
        mend: 'Look whether you miss something that is in it, then remove it.',
        file,
      })
    }
  }
  return findings
}

/** NeDB's name, lowdb's, and ours: of a replacement, and of a dump. */
function isTemp(name: string, other: string): boolean {
  if (other === `${name}~` || other === `.${name}.tmp`) return true
  return other.startsWith(`.${name}.`) && /^([0-9a-f]{8}\.)?pslock\.tmp$/.test(other.slice(name.length + 2))
}

function isAside(name: string, other: string): boolean {
  const rest = other.startsWith(`${name}.`) ? other.slice(name.length + 1) : ''
  // Of its journal, too.
  const [, kind] = /^(?:journal\.)?(.+)-\d+$/.exec(rest) ?? []
  return ASIDE.some((each) => each === kind)
}

function isInUse(file: string): boolean {
  try {
    const fd = openFile(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW)
    try {
      return !tryFlock(fd, 'shared', file)
    } finally {
      closeLocked(fd, file)
    }
  } catch (error) {
    // It is gone: somebody finished.
    if (errnoOf(error) === 'ENOENT') return true
    // A link, a socket, or another user's: no writer of ours has it.
    if (['ELOOP', 'ENXIO', 'EACCES', 'EPERM'].includes(errnoOf(error) ?? '')) return false
    throw error
  }
}
