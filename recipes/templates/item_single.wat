  ;; The square root in single precision.
  (func $item (param $number i64) (result f32)
    (f32.sqrt (f32.convert_i64_u (local.get $number))))
