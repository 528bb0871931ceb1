import { asError, CorruptStoreError, StoreIoError } from '../../errors.ts'
import type { TreeFormat } from '../adapter.ts'
import { BYTE_ORDER_MARK, failurePlace, isTooLong, TOO_LARGE } from '../text/text.ts'
import type { Tree } from './values.ts'

/** The tree that a data file holds. @throws CorruptStoreError that says where it stops to be one */
export function treeOf(text: string, path: string, { name, parse }: TreeFormat): Tree {
  if (text.trim() === '') {
    throw new CorruptStoreError(
      `${path} is empty (line 1, byte 0). Remove it to start from the default data.`,
      { path, line: 1, byte: 0 },
    )
  }
  if (text.startsWith(BYTE_ORDER_MARK)) {
    throw new CorruptStoreError(
      `${path} begins with a byte order mark (line 1, byte 0), which is not ${name}. It was left as it is; \`pslock repair\` ` +
        'removes it.',
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

/**
 * A tree as the text of its file.
 * @throws TypeError for what is not to be written; StoreIoError for what is too large for one text
 */
export function treeText(tree: Tree, path: string, { name, stringify }: TreeFormat): string {
  let text: string | undefined
  try {
    text = stringify(tree) as string | undefined
  } catch (cause) {
    if (!isTooLong(cause)) throw cause
    throw new StoreIoError(`cannot write ${path}: ${TOO_LARGE}. Nothing was changed.`, { path, cause })
  }
  if (typeof text === 'string') return text
  throw new TypeError(`the data of ${path} cannot be written as ${name}: got ${String(tree)}`)
}
