/**
 * Reads SentencePiece's `tokenizer.model`, a protobuf message
 * (https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto). Only the fields a GGUF
 * vocabulary is made of are taken.
 */
import { ThermoclineError } from "../../proto/errors.js";

/** Numbers of SentencePiece's piece types, which GGUF's token types share. */
export const PIECE_TYPES = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

export interface Piece {
  text: string;
  score: number;
  /** One of {@link PIECE_TYPES}. */
  type: number;
}

export interface SentencePieceModel {
  pieces: Piece[];
  /** 1 unigram, 2 BPE, 3 words, 4 characters. */
  modelType: number;
  /** Ids of special tokens; -1 for none. */
  unknownId: number;
  bosId: number;
  eosId: number;
  padId: number;
  addDummyPrefix: boolean;
  removeExtraWhitespaces: boolean;
  /** Whether text is rewritten (NFKC and the like) before it is cut into pieces. */
  normalizes: boolean;
}

/** @throws ThermoclineError DATA_LOSS when the bytes are no such message; `path` is for the message only */
export function parseSentencePieceModel(bytes: Uint8Array, path: string): SentencePieceModel {
  const model: SentencePieceModel = {
    pieces: [],
    modelType: 1,
    unknownId: 0,
    bosId: 1,
    eosId: 2,
    padId: -1,
    addDummyPrefix: true,
    removeExtraWhitespaces: true,
    normalizes: false,
  };
  for (const field of fields(bytes, path)) {
    if (field.number === 1) {
      model.pieces.push(parsePiece(field.bytes, path));
    } else if (field.number === 2) {
      for (const { number, integer } of fields(field.bytes, path)) {
        if (number === 3) model.modelType = integer;
        if (number === 40) model.unknownId = integer;
        if (number === 41) model.bosId = integer;
        if (number === 42) model.eosId = integer;
        if (number === 43) model.padId = integer;
      }
    } else if (field.number === 3) {
      for (const { number, integer, bytes: value } of fields(field.bytes, path)) {
        if (number === 2) model.normalizes = value.length > 0;
        if (number === 3) model.addDummyPrefix = integer !== 0;
        if (number === 4) model.removeExtraWhitespaces = integer !== 0;
      }
    }
  }
  if (model.pieces.length === 0) throw malformed(path, "it holds no pieces");
  return model;
}

function parsePiece(bytes: Uint8Array, path: string): Piece {
  const piece: Piece = { text: "", score: 0, type: PIECE_TYPES.normal };
  for (const { number, integer, bytes: value } of fields(bytes, path)) {
    if (number === 1) piece.text = Buffer.from(value).toString("utf8");
    if (number === 2) piece.score = value.length === 4 ? Buffer.from(value).readFloatLE() : 0;
    if (number === 3) piece.type = integer;
  }
  return piece;
}

interface Field {
  number: number;
  /** The value of a varint field as a signed 32-bit integer, else 0. */
  integer: number;
  /** The bytes of any other field, else empty. */
  bytes: Uint8Array;
}

const NOTHING = new Uint8Array();

/** The fields of a protobuf message in wire order. */
function* fields(message: Uint8Array, path: string): Generator<Field> {
  let position = 0;
  const take = (bytes: number): Uint8Array => {
    if (position + bytes > message.length) throw malformed(path, "it ends inside a field");
    position += bytes;
    return message.subarray(position - bytes, position);
  };
  // Bits above the 32nd are dropped: negative 32-bit integers come as ten bytes.
  const varint = (): number => {
    for (let value = 0, shift = 0; shift < 70; shift += 7) {
      const byte = take(1)[0] ?? 0;
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw malformed(path, "an integer has more than ten bytes");
  };
  while (position < message.length) {
    const tag = varint() >>> 0;
    const number = tag >>> 3;
    switch (tag & 7) {
      case 0:
        yield { number, integer: varint(), bytes: NOTHING };
        break;
      case 1:
        yield { number, integer: 0, bytes: take(8) };
        break;
      case 2:
        yield { number, integer: 0, bytes: take(varint() >>> 0) };
        break;
      case 5:
        yield { number, integer: 0, bytes: take(4) };
        break;
      default:
        throw malformed(path, `a field has wire type ${tag & 7}`);
    }
  }
}

function malformed(path: string, what: string): ThermoclineError {
  return new ThermoclineError(
    "DATA_LOSS",
    `${path}: is no SentencePiece model: ${what}; get the tokenizer again`,
  );
}
