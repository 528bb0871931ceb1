import { asError, CorruptStoreError } from '../../errors.ts'
import type { TreeFormat } from '../adapter.ts'
import { failurePlace } from '../dump/text-format.ts'
import type { Tree } from './json-tree.ts'

/** The tree that a data file holds. @throws CorruptStoreError that says where it stops to be one */
export function treeOf(text: string, path: string, { name, parse }: TreeFormat): Tree {
  if (text.trim() === '') {
    throw new CorruptStoreError(
      `${path} is empty (line 1, byte 0). Remove it to start from the default data.`,
      { path, line: 1, byte: 0 },
    )
  }
  try {
    return parse(text)
  } catch (cause) {
    const failure = asError(cause)
    const place = failurePlace(parse, failure, text)
    const where = place ? `line ${place.line}, byte ${place.byte}: ` : ''
    throw new CorruptStoreError(
      `${path} is not valid ${name}: ${where}${failure.message}. It was left as it is; mend or remove it.`,
      { path, ...place, cause },
    )
  }
}
