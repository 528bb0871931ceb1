import { optionNames, requireKnown, show } from '../../src/arguments.ts'
import { Address } from '../../src/postgres/server/url.ts'
import { isOnServer, LOG_NAMES, type LogOptions } from '../../src/store/options.ts'
import type { DatastoreOptions } from './vanilla.cjs'

/** What the library takes and its types do not have. */
interface Untyped {
  /** Since 4.0. */
  testSerializationHooks?: boolean
  /** Of nedb 1.x, ignored since. */
  nodeWebkitAppName?: string
}

const NAMES = optionNames<DatastoreOptions & Untyped>(
  {
    filename: true,
    timestampData: true,
    inMemoryOnly: true,
    autoload: true,
    onload: true,
    beforeDeserialization: true,
    afterSerialization: true,
    corruptAlertThreshold: true,
    compareStrings: true,
    modes: true,
    testSerializationHooks: true,
    nodeWebkitAppName: true,
  },
  LOG_NAMES,
)
const MODES = optionNames<NonNullable<DatastoreOptions['modes']>>({ fileMode: true, dirMode: true })

/**
 * The options that a constructor was given, as an object.
 * @typeParam O must not have an option that is not among NeDB's and pslock's
 * @param more what was given besides
 * @throws TypeError for what is no option, or would be ignored
 */
export function optionsOf<O extends object>(
  pathOrOptions:
    | string
    | (O & { readonly [K in Exclude<keyof O, keyof (DatastoreOptions & LogOptions & Untyped)>]?: never })
    | undefined,
  more: readonly unknown[],
): O | { filename: string } {
  if (more.some((value) => value !== undefined)) {
    throw new TypeError(
      `a path has no options beside it: give one object, { filename, ... }. Got, besides, ${show(more[0])}`,
    )
  }
  if (typeof pathOrOptions === 'string') return { filename: pathOrOptions }
  const options = pathOrOptions ?? ({} as O)
  requireKnown(options, NAMES)
  const { modes } = options as { modes?: object | null }
  requireKnown(modes ?? undefined, MODES, 'member of the option modes,')
  const { filename, url, name } = options as { filename?: unknown } & LogOptions
  if ((options as DatastoreOptions).inMemoryOnly === true && url !== undefined)
    throw new TypeError(
      'inMemoryOnly: a store is in memory or on a server: give inMemoryOnly or url, not both',
    )
  // The library shows it, and opens nothing of that name: everything it reads or writes goes through pslock.
  return isOnServer(options, { name: 'filename', value: filename })
    ? { ...options, filename: Address.of(url, name).shown }
    : options
}
