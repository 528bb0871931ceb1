/**
 * Loaded before a test suite of NeDB: what its tests require as `../lib/<module>` is that of the library under test, and
 * `../lib/datastore` is LockedNedb, where its URL is given. Mocha takes its root hooks from here too.
 */
import { readdirSync, unlinkSync } from 'node:fs'
import Module from 'node:module'
import { dirname, join, sep } from 'node:path'
import { callbackify } from 'node:util'

/** `suite`: the package whose tests run. `library`: the package of @seald-io/nedb. */
const { suite, library, locked } = JSON.parse(process.env.PSLOCK_VANILLA_SUITE)

const resolveFilename = Module._resolveFilename
Module._resolveFilename = function (request, parent, ...rest) {
  const asked = moduleOf(request, parent)
  if (asked) return join(library, 'lib', `${asked}.js`)
  const [, inside] = /^@seald-io\/nedb(\/.*)?$/.exec(request) ?? []
  if (request.startsWith('@seald-io/nedb')) return join(library, inside ?? 'index.js')
  return resolveFilename.call(this, request, parent, ...rest)
}

/** Which module of the library a test asks for. */
function moduleOf(request, parent) {
  const folder = dirname(parent?.filename ?? '')
  if (folder !== join(suite, 'test') && folder !== join(suite, 'test_lac')) return undefined
  return /^\.\.\/lib\/(\w+)(?:\.js)?$/.exec(request)?.[1]
}

if (locked) {
  const { LockedNedb } = await import(locked)
  const load = Module._load
  Module._load = function (request, parent, ...rest) {
    return moduleOf(request, parent) === 'datastore' ? LockedNedb : load.call(this, request, parent, ...rest)
  }
}

/** What NeDB 1.8 calls by these names, with a callback, and the newest one only by others. Both sides are given it. */
function giveOldNames(object, names) {
  for (const [name, now] of Object.entries(names)) {
    object[name] ??= function (...args) {
      const callback = args.pop()
      callbackify(() => this[now](...args))(callback)
    }
  }
}

export const mochaHooks = {
  beforeAll() {
    const require = Module.createRequire(import.meta.url)
    const [storage, Persistence, Datastore] = ['storage', 'persistence', 'datastore'].map((name) =>
      require(join(library, 'lib', `${name}.js`)),
    )
    giveOldNames(Persistence.prototype, { persistCachedDatabase: 'persistCachedDatabaseAsync' })
    giveOldNames(Datastore.prototype, { getCandidates: '_getCandidatesAsync' })
    giveOldNames(storage, {
      ensureFileDoesntExist: 'ensureFileDoesntExistAsync',
      ensureDatafileIntegrity: 'ensureDatafileIntegrityAsync',
    })
    Persistence.ensureDirectoryExists ??= (folder, callback) =>
      callbackify(() => storage.mkdirAsync(folder, { recursive: true }))(callback)
  },

  /** Some tests remove a folder of theirs once they have removed their data file: the lock file must not keep it. */
  afterEach() {
    for (const name of readdirSync('workspace', { recursive: true })) {
      if (name.includes(sep) && name.endsWith('.lock')) unlinkSync(join('workspace', name))
    }
  },
}
